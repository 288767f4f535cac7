"""How two codes differ: the lines, and how many there are."""

import difflib
from collections.abc import Iterator, Mapping

from orchestrator.wording.numbers import counted

Sources = Mapping[str, bytes]


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


def diff_size(before: Sources, after: Sources) -> str:
    """How many files differ, and how many lines were added and removed in them: `2 files, 6 lines`."""
    changed = _changed(before, after)
    lines = (line for name in changed for line in difflib.ndiff(_lines(before, name), _lines(after, name)))
    return f"{counted(len(changed), 'file')}, {counted(sum(line[:2] in ('+ ', '- ') for line in lines), 'line')}"


def _changed(before: Sources, after: Sources) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _lines(sources: Sources, name: str) -> list[str]:
    return sources.get(name, b"").decode("utf-8", "backslashreplace").splitlines()
