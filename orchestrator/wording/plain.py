"""Text as it is printed, whatever a sweep is called: no letter moves the cursor or changes a colour."""

import json
from typing import Any


def printable(text: str) -> str:
    """A text on one line; what cannot be shown is escaped, as in `\\x1b[31m`."""
    if text.isprintable():
        return text
    shown = (" " if letter.isspace() else letter for letter in text)
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in shown)


def printable_lines(text: str) -> str:
    """A text of several lines, each as `printable` gives it."""
    return "\n".join(map(printable, text.split("\n")))


def json_text(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON in which every letter that cannot be shown is escaped; with `ascii_only` every letter that is not ASCII."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
