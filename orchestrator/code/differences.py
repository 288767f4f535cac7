"""How two codes differ: the lines, and how many there are."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.wording.numbers import counted

Sources = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class DiffSize:
    """How many files differ, and how many lines were added and removed in them."""

    files: int
    added: int
    removed: int

    def __str__(self) -> str:
        return f"{counted(self.files, 'file')}, {counted(self.added + self.removed, 'line')}"


def diff_lines(before: Sources, after: Sources) -> Iterator[str]:
    """A unified diff, without line ends; a file on one side only is compared with /dev/null."""
    for name in _changed(before, after):
        yield from difflib.unified_diff(
            _lines(before, name),
            _lines(after, name),
            f"a/{name}" if name in before else "/dev/null",
            f"b/{name}" if name in after else "/dev/null",
            lineterm="",
        )


def diff_size(before: Sources, after: Sources) -> DiffSize:
    """The size of the diff."""
    changed = _changed(before, after)
    added = removed = 0
    for name in changed:
        for line in difflib.ndiff(_lines(before, name), _lines(after, name)):
            added += line.startswith("+ ")
            removed += line.startswith("- ")
    return DiffSize(files=len(changed), added=added, removed=removed)


def _changed(before: Sources, after: Sources) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _lines(sources: Sources, name: str) -> list[str]:
    return sources.get(name, b"").decode("utf-8", "backslashreplace").splitlines()
