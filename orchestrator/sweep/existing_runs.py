"""Which runs of a plan were completed before: same settings, seed, data and code.

A run is known by its arm's key (recipe and settings, the dataset and tokenizer by name), its seed, the fingerprint of
its data and the digest of the code that trained it. This host knows the data's fingerprint if its tokens are in the
cache. If not, the name must do, and the run counts as unchecked.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hlbgpt_core.code_digest import core_digest
from hlbgpt_core.errors import DataError
from hlbgpt_core.text.corpus import digest_split
from hlbgpt_core.text.dataset_source import DatasetSource
from hlbgpt_core.text.token_cache import default_cache_dir, read_manifest
from orchestrator.queue.runs import CompletedRun
from orchestrator.store import Store
from orchestrator.sweep.plan import Plan
from orchestrator.wording.numbers import counted

# The fingerprint of text that is not the text in the cache: no completed run has it.
CHANGED = "changed"


@dataclass(frozen=True, kw_only=True)
class Existing:
    """How many of a plan's runs exist, and the numbers of those that are taken as they are, by arm key and seed.
    `unchecked` of them were compared only by the data's name.

    `other_data` and `other_code` count runs that were completed with the same settings and seed, but differently.
    """

    count: int = 0
    runs: Mapping[tuple[str, int], int] = field(default_factory=dict)
    unchecked: int = 0
    other_data: int = 0
    other_code: int = 0

    def lines(self, *, skipped: bool) -> list[str]:
        """Lines for people; empty if nothing was found."""
        found = []
        if self.count:
            them = "it" if self.count == 1 else "them"
            then = "left out" if skipped else f"add --skip_existing to leave {them} out"
            found.append(f"{counted(self.count, 'run')} completed before with the same data and code: {then}")
        if self.unchecked:
            found.append(
                f"  {counted(self.unchecked, 'of them was', 'of them were')} compared by the dataset's name only: "
                "its tokens are not in the cache here"
            )
        for count, what in ((self.other_data, "data"), (self.other_code, "code")):
            if count:
                so = "this does not count" if count == 1 else "these do not count"
                found.append(f"{counted(count, 'run')} completed before with other {what}: {so}")
        return found


def find_existing(
    plan: Plan,
    store: Store,
    *,
    taken: bool = True,
    fingerprint: Callable[[str, str], str | None] | None = None,
    digest: Callable[[], str] = core_digest,
) -> Existing:
    """Find the plan's runs in `store`, their numbers only if they are `taken`: a long history is read again for these.
    `fingerprint` returns that of a dataset and a tokenizer, None if unknown."""
    completed = store.completed((arm.key for arm in plan.arms), plan.seeds)
    if not completed:
        return Existing()
    known = functools.cache(fingerprint or cached_fingerprint)
    data = {arm.key: (arm.settings.dataset, arm.settings.tokenizer) for arm in plan.arms}
    code, same = digest(), store.same_code()
    # The best match of each run: it may have been completed in several sweeps.
    best: dict[tuple[str, int], str] = {}
    wanted: list[CompletedRun] = []
    for run in completed:
        expected = known(*data[run.arm_key])
        if {same.of(part.digest) for part in run.code} != {same.of(code)}:
            found = "code"
        elif expected is None:
            found = "unchecked"
        else:
            found = "same" if run.data_fingerprint == expected else "data"
        if found in ("same", "unchecked"):
            wanted.append(run)
        key = (run.arm_key, run.seed)
        best[key] = min(best.get(key, found), found, key=_BEST_FIRST.index)
    kinds = Counter(best.values())
    return Existing(
        count=kinds["same"] + kinds["unchecked"],
        runs=store.newest_completed(wanted) if taken else {},
        unchecked=kinds["unchecked"],
        other_data=kinds["data"],
        other_code=kinds["code"],
    )


def cached_fingerprint(dataset: str, tokenizer: str) -> str | None:
    """The fingerprint of a dataset's tokens as this host knows it; None if they are not in the cache.

    CHANGED if the cache holds other text than the files on this host. Reads the text only if the files' dates differ
    from the cache's.
    """
    try:
        source = DatasetSource.of(dataset, tokenizer, default_cache_dir())
        manifest = read_manifest(source.entry.folder)
        if manifest is None:
            return None
        if source.local is None or manifest.source_state == source.state:
            return manifest.fingerprint
        train, val = (digest_split(split, lambda: None) for split in (source.local.train, source.local.val))
    except DataError:
        return None
    same = (train, val) == (manifest.train_text_sha256, manifest.val_text_sha256)
    return manifest.fingerprint if same else CHANGED


_BEST_FIRST = ("same", "unchecked", "data", "code")
