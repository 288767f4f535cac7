"""What people call sweeps and runs: names, notes and tags. Pure."""

import re
from collections.abc import Iterable

from orchestrator.errors import UsageError

LONGEST_NAME = 200
LONGEST_NOTE = 10_000
LONGEST_TAG = 64
MOST_TAGS = 32
# No white space, which separates tags, and nothing in front that a spreadsheet takes for a formula.
_TAG = re.compile(r"\w[\w.:/=@+-]*")
_MOST_SHOWN = 40


def checked_name(text: str) -> str:
    """A sweep's name on one line. Raises UsageError for control characters and for one that is too long."""
    return _checked(text, "name", LONGEST_NAME)


def checked_note(text: str) -> str:
    """A note, which may have several lines. Raises UsageError as `checked_name` does."""
    return _checked(text, "note", LONGEST_NOTE, also="\n")


def checked_tag(text: str) -> str:
    """A tag. Raises UsageError for what can't be one."""
    if not _TAG.fullmatch(text):
        hint = "A tag begins with a letter or a digit, and goes on with those and _ . : / = @ + -"
        raise UsageError(f"{_shown(text)} can't be a tag", hint)
    return _checked(text, "tag", LONGEST_TAG)


def changed_tags(before: Iterable[str], *, add: Iterable[str], remove: Iterable[str]) -> tuple[str, ...]:
    """The tags after a change, in the order of the alphabet. Raises UsageError if they are too many."""
    after = (set(before) | set(add)) - set(remove)
    if len(after) > MOST_TAGS:
        raise UsageError(f"that makes {len(after)} tags", f"The limit is {MOST_TAGS}: remove some with -TAG.")
    return tuple(sorted(after))


def _checked(text: str, what: str, longest: int, *, also: str = "") -> str:
    text = text.strip()
    if any(not letter.isprintable() and letter not in also for letter in text):
        raise UsageError(f"the {what} {_shown(text)} holds control characters", "Use plain text.")
    if len(text) > longest:
        raise UsageError(f"the {what} has {len(text):,} characters", f"Use at most {longest:,}.")
    return text


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
