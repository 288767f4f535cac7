"""Tables of text. Not drawn by rich, which takes 6 s for 2,000 rows of 17 columns; this takes 0.1 s."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.wording.plain import printable

_GAP = "  "
_NARROWEST_COLUMN = 8


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of texts. Columns named in `right` hold numbers and are right-aligned."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    right: frozenset[str] = frozenset()

    def without_empty_columns(self) -> "TextTable":
        """The table without empty columns."""
        return self._only([place for place in range(len(self.headers)) if any(row[place] for row in self.rows)])

    def fitted(self, width: int, drop: Sequence[str]) -> "TextTable":
        """The table without its empty columns, and without as many of those in `drop` as it takes to fit `width`."""
        shown = self.without_empty_columns()
        for name in drop:
            if _total(shown.widths()) <= width:
                break
            shown = shown._only([place for place, header in enumerate(shown.headers) if header != name])
        return shown

    def widths(self) -> list[int]:
        """The width of each column in cells of a terminal."""
        return [max(map(cell_width, column)) for column in zip(self.headers, *self.rows, strict=True)]

    def lines(self, width: int | None = None) -> list[str]:
        """The table as aligned lines; in a terminal of that `width`, the widest columns are wrapped."""
        shown = self._only(range(len(self.headers)))
        widths = shown.widths()
        while width is not None and _total(widths) > width and max(widths) > _NARROWEST_COLUMN:
            widths[widths.index(max(widths))] -= 1
        flush = [header in self.right for header in shown.headers]
        lines = [printable(self.title)] if self.title else []
        for row in (shown.headers, *shown.rows):
            folded = map(_folded, row, widths)
            lines += [
                _GAP.join(map(_padded, cells, widths, flush)).rstrip()
                for cells in itertools.zip_longest(*folded, fillvalue="")
            ]
        return lines

    def _only(self, places: Sequence[int]) -> "TextTable":
        rows = [[printable(row[place]) for place in places] for row in self.rows]
        return replace(self, headers=[self.headers[place] for place in places], rows=rows)


def cell_width(text: str) -> int:
    """The width of a text in terminal cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _folded(cell: str, width: int) -> Sequence[str]:
    if cell_width(cell) <= width:
        return (cell,)
    # Letters of other scripts may take two cells each.
    letters = width if cell.isascii() else max(width // 2, 1)
    return textwrap.wrap(cell, letters, break_on_hyphens=False) or ("",)


def _padded(cell: str, width: int, right: bool) -> str:
    room = " " * (width - cell_width(cell))
    return room + cell if right else cell + room
