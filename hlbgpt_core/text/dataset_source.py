"""A dataset and a tokenizer by name, and what the cache has of them.

Only the standard library is imported here: `submit` reads fingerprints without loading the trainer.
"""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.errors import DataError, SettingsError
from hlbgpt_core.scale import unpadded_vocabulary_size
from hlbgpt_core.text.corpus import Corpus, local_corpus
from hlbgpt_core.text.sources import PYSTDLIB, DatasetName, absolute_dataset, local_splits, parse_dataset
from hlbgpt_core.text.token_cache import CacheEntry, Manifest, cache_entry, default_cache_dir, read_manifest


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """What to open: names, the place in the cache, and the state of local files ("" for a hub's).

    `local` is the text on this machine, None for a hub's dataset.
    """

    dataset: str
    name: DatasetName
    tokenizer: str
    entry: CacheEntry
    state: str
    local: Corpus | None

    @classmethod
    def of(cls, dataset: str, tokenizer: str, cache_dir: Path) -> "DatasetSource":
        """Look the names up. Raises DataError for unknown ones, and for missing text files."""
        name = parse_dataset(dataset)
        try:
            unpadded_vocabulary_size(tokenizer)
        except SettingsError as error:
            raise DataError(error.message, error.hint) from None
        splits = local_splits(name) if name.is_local else None
        root = f" {sysconfig.get_paths()['stdlib']}" if name.kind == PYSTDLIB else ""
        identity = f"{absolute_dataset(dataset)}{root}"
        return cls(
            dataset=dataset,
            name=name,
            tokenizer=tokenizer,
            entry=cache_entry(cache_dir, dataset=dataset, identity=identity, tokenizer=tokenizer),
            state=splits.state() if splits else "",
            local=local_corpus(splits) if splits else None,
        )

    def manifest_if_unchanged(self) -> Manifest | None:
        """The manifest of the cached tokens, if they are complete and the text's files are unchanged."""
        manifest = read_manifest(self.entry.folder)
        return manifest if manifest is not None and manifest.source_state == self.state else None


def cached_fingerprint(dataset: str, tokenizer: str, *, cache_dir: Path | None = None) -> str | None:
    """The fingerprint if the tokens are in the cache and the text is unchanged, else None; builds nothing."""
    try:
        manifest = DatasetSource.of(dataset, tokenizer, cache_dir or default_cache_dir()).manifest_if_unchanged()
    except DataError:
        return None
    return None if manifest is None else manifest.fingerprint
