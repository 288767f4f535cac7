"""Keeps the sources of the code that computes runs in the database, once for each digest."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.code.archive import LARGEST_BYTES, pack
from orchestrator.queue.code import commit_text
from orchestrator.store import Store


class CodeKeeper:
    """`sources` gives those of a digest, as they were read for it; None where they are not known any more."""

    def __init__(
        self, store: Store, *, sources: Callable[[str], Mapping[str, bytes] | None], say: Callable[[str], None]
    ) -> None:
        self._store, self._sources, self._say = store, sources, say
        self._seen: set[str] = set()

    def keep(self, provenance: Mapping[str, Any]) -> None:
        """Keep the code of an attempt that has said what computes it. Raises DatabaseBusyError: call again then."""
        digest = str(provenance.get("core_digest") or "")
        if not digest or digest in self._seen:
            return
        if not self._store.knows_code(digest):
            sources = self._sources(digest)
            if sources is None:
                self._say(f"warning: the sources of code {digest} are not kept: they changed while they were loaded")
                return
            record = pack(digest, sources, git_commit=commit_text(provenance))
            if not record.sources:
                self._say(
                    f"warning: the sources of code {digest} are not kept: {record.num_bytes:,} bytes, but the database "
                    f"takes at most {LARGEST_BYTES:,}; keep large files outside hlbgpt_core"
                )
            self._store.keep_code(record)
        self._seen.add(digest)
