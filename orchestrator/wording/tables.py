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
        """The table as aligned lines; in a terminal of that `width`, the widest columns are wrapped between words.
        Where even that is too wide, each row becomes a list of its cells."""
        shown = self._only(range(len(self.headers)))
        widths = shown.widths()
        if width is not None and _total(widths) > width:
            least = [max(map(_longest_word, column)) for column in zip(shown.headers, *shown.rows, strict=True)]
            if _total(least) > width:
                return shown._listed(width)
            while _total(widths) > width:
                wide = [place for place, room in enumerate(widths) if room > least[place]]
                widths[max(wide, key=widths.__getitem__)] -= 1
        flush = [header in self.right for header in shown.headers]
        lines = self._title_lines(width)
        for row in (shown.headers, *shown.rows):
            folded = map(_folded, row, widths)
            lines += [
                _GAP.join(map(_padded, cells, widths, flush)).rstrip()
                for cells in itertools.zip_longest(*folded, fillvalue="")
            ]
        return lines

    def markdown(self) -> list[str]:
        """The table as lines of Markdown, without its title."""
        rows = [self.headers, ["---"] * len(self.headers), *self.rows]
        return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]

    def _title_lines(self, width: int | None) -> list[str]:
        title = printable(self.title)
        return (title if width is None else wrapped(title, width)).splitlines()

    def _listed(self, width: int) -> list[str]:
        """Each row as lines of a header and its cell."""
        width = max(width, 2 * _NARROWEST_COLUMN)
        label = min(max(map(cell_width, self.headers)), width // 2)
        lines = self._title_lines(width)
        for row in self.rows:
            for header, cell in zip(self.headers, row, strict=True):
                folded = itertools.zip_longest(
                    _folded(header, label), _folded(cell, width - label - len(_GAP)), fillvalue=""
                )
                lines += [f"{_padded(name, label, False)}{_GAP}{text}".rstrip() for name, text in folded]
            lines.append("")
        return lines[:-1]

    def _only(self, places: Sequence[int]) -> "TextTable":
        rows = [[printable(row[place]) for place in places] for row in self.rows]
        return replace(self, headers=[self.headers[place] for place in places], rows=rows)


def cell_width(text: str) -> int:
    """The width of a text in terminal cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, width: int) -> str:
    """A sentence in lines of at most `width` letters, broken between words."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)) or text


def _longest_word(cell: str) -> int:
    # Scripts with letters of two cells are broken anywhere.
    rooms = [
        min(cell_width(one), _NARROWEST_COLUMN) if _has_wide_letters(one) else cell_width(one) for one in cell.split()
    ]
    return max(rooms, default=0)


def _has_wide_letters(text: str) -> bool:
    return not text.isascii() and any(cell_width(letter) > 1 for letter in text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _folded(cell: str, width: int) -> Sequence[str]:
    if cell_width(cell) <= width:
        return (cell,)
    # Letters of other scripts may take two cells each.
    letters = max(width // 2, 1) if _has_wide_letters(cell) else width
    return textwrap.wrap(cell, letters, break_on_hyphens=False) or ("",)


def _padded(cell: str, width: int, right: bool) -> str:
    room = " " * (width - cell_width(cell))
    return room + cell if right else cell + room
