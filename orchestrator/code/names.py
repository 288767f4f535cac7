"""What people type for a code: the code on disk, a run, or the beginning of a digest."""

from collections.abc import Mapping
from dataclasses import dataclass

from hlbgpt_core.code_digest import CoreCode
from orchestrator.code.archive import unpack
from orchestrator.errors import UsageError
from orchestrator.store import Store

HERE = "here"
FEWEST_LETTERS = 4


@dataclass(frozen=True, kw_only=True)
class NamedCode:
    """A digest, and its sources."""

    digest: str
    sources: Mapping[str, bytes]


def find_digest(store: Store, name: str) -> str:
    """The digest that `name` stands for: `here` is the code on disk, a number or uid is that run's newest code, and
    anything else is the beginning of a digest, of at least four characters. So are digits that are no run's number.

    Raises UsageError if it stands for none or several.
    """
    if name == HERE:
        return CoreCode().digest()
    known = {record.digest for record in store.codes()} | set(store.runs_by_code()) | {CoreCode().digest()}
    known |= {digest for first, second, _ in store.declared_same() for digest in (first, second)}
    known |= {digest for _, its_code, here in store.held_runs() for digest in (its_code, here)}
    found = sorted(digest for digest in known if len(name) >= FEWEST_LETTERS and digest.startswith(name.lower()))
    is_number = name.isascii() and name.isdecimal()
    names_code = is_number and bool(found) and (name.startswith("0") or store.run(name) is None)
    if name.startswith("r") or (is_number and not names_code):
        return _digest_of_run(store, name)
    if not found:
        raise UsageError(f"no code '{name}'", "See all: hlbq code list. A run's number names its code too.")
    if len(found) > 1:
        raise UsageError(f"{len(found)} codes begin with '{name}': {', '.join(found)}", "Type more digits.")
    return found[0]


def find_code(store: Store, name: str) -> NamedCode:
    """The code that `name` stands for, as `find_digest` reads it. Raises UsageError without its sources."""
    if name == HERE:
        core = CoreCode()
        sources = core.sources()
        return NamedCode(digest=core.digest_of(sources), sources=sources)
    digest = find_digest(store, name)
    record = store.code(digest)
    found = known_sources(store, digest) if record is None else unpack(record)
    if found is None:
        raise UsageError(
            f"the database does not hold the sources of code {digest}",
            "It is older than hlbq's record of sources. See the git commit: hlbq show RUN",
        )
    return NamedCode(digest=digest, sources=found)


def known_sources(store: Store, digest: str) -> Mapping[str, bytes] | None:
    """The sources of a digest, from the database or from the disk; None if neither has them."""
    record = store.code(digest)
    if record is not None and record.sources:
        return unpack(record)
    core = CoreCode()
    here = core.sources()
    return here if core.digest_of(here) == digest else None


def _digest_of_run(store: Store, name: str) -> str:
    run = store.run(name)
    if run is None:
        raise UsageError(f"there is no run {name} in {store.location.display}", "See the runs: hlbq status --all")
    if not run.code:
        raise UsageError(f"run {run.id} has no code yet: no worker has started it", "See all: hlbq code list")
    return run.code[-1].digest
