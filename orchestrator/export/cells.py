"""Values as the cells of a CSV, and back.

A list is written as `[4.9, 3.1]`, which JSON and Python's `ast.literal_eval` both read. Neither has a word for numbers
that are not finite: these are written as `1e999` or `-1e999`, which both read as infinity (`nan` is `1e999` too). What
was not recorded is `1e9999`: infinity to both, and None to hlbq. Single numbers are written as `nan`, `inf`, `-inf`.

A text that a spreadsheet could take for a formula gets an apostrophe in front; `csv_table.read_csv_rows` takes it off.
"""

import contextlib
import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.files.given_path import open_to_read
from orchestrator.store.reading.curves import NumberTexts

# Any number of apostrophes may stand before the formula's first character, so that escaping can be undone.
_LOOKS_LIKE_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_NEEDS_QUOTES = re.compile(r'[",\r\n]')
_INFINITE = "1e999"
NOT_RECORDED = "1e9999"
# Lists as Python prints them, which the original tool wrote: with words that JSON lacks or spells differently.
_PYTHON_LIST = re.compile(r"\[(?:[-+\d.e, ]|nan|inf|None)*\]")
_JSON_WORDS: Mapping[str, str] = {"nan": "NaN", "inf": "Infinity", "None": "null"}


def list_cell(values: Sequence[float | None] | NumberTexts) -> str:
    """Numbers as a list that JSON and `ast.literal_eval` read; with the fewest digits that give the same number."""
    text = ", ".join(map(str if isinstance(values, NumberTexts) else repr, values))
    if "n" in text:  # only nan, inf and None contain one
        numbers = values.numbers() if isinstance(values, NumberTexts) else values
        text = ", ".join(map(_list_number, numbers))
    return f"[{text}]"


def _list_number(value: float | None) -> str:
    if value is None:
        return NOT_RECORDED
    if math.isfinite(value):
        return repr(value)
    return f"-{_INFINITE}" if value == -math.inf else _INFINITE


def text_cell(text: str) -> str:
    """A text, with an apostrophe in front if a spreadsheet might run it."""
    return f"'{text}" if _LOOKS_LIKE_FORMULA.match(text) else text


def read_text_cell(cell: str) -> str:
    """The text that `text_cell` got."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def cell(value: Any) -> str:
    """One value as a cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return list_cell(value)


def quoted(text: str) -> str:
    """A finished cell as it stands in a CSV; it quotes what `csv` would leave bare but could not read back."""
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


@contextlib.contextmanager
def opened_csv(path: Path) -> Iterator[Iterator[list[str]]]:
    """The rows of a CSV as raw cells, one at a time, however long a cell is."""
    # Of the whole process, so it is not set back: another thread may read a CSV too.
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(open_to_read(path), encoding="utf-8-sig", newline="") as stream:
        yield csv.reader(stream)


def read_cell(text: str) -> Any:
    """The value of one cell that may not be text, judged by how it is written."""
    if not text:
        return None
    if text in ("true", "false", "True", "False"):
        return text in ("true", "True")
    if text.startswith("[") and text.endswith("]"):
        return _read_list(text)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return read_text_cell(text)


def _read_list(text: str) -> Any:
    if any(mark in text[1:] for mark in '"[{'):  # of other things than numbers
        return text
    if _PYTHON_LIST.fullmatch(text):
        for word, of_json in _JSON_WORDS.items():
            text = text.replace(word, of_json)
    try:
        return json.loads(text.replace(NOT_RECORDED, "null"))
    except ValueError:
        return text
