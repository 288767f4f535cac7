"""Command lines are stored without credentials."""

import pytest

from orchestrator.wording.secrets import without_credentials


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("postgresql://me:pw@host/db", "postgresql://me:***@host/db"),
        ("--db=postgresql://me:p:w@host:5432/db", "--db=postgresql://me:***@host:5432/db"),
        ("postgresql://me@host/db?password=pw&sslmode=require", "postgresql://me@host/db?password=***&sslmode=require"),
        ("https://user:pw@files/x?token=abc", "https://user:***@files/x?token=***"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("text:/a/b.txt", "text:/a/b.txt"),
        ("postgresql://:pw@host/db", "postgresql://:***@host/db"),
        ("postgresql://me:p/w@host/db", "postgresql://me:***@host/db"),
        ("http://host:80/a", "http://host:80/a"),
    ],
)
def test_passwords_of_urls_are_left_out(typed: str, stored: str) -> None:
    assert without_credentials([typed]) == (stored,)


@pytest.mark.parametrize("text", ["b" * 200_000, "a://b:" * 20_000, "a1" * 100_000])
def test_a_long_note_is_no_long_search(text: str) -> None:
    assert without_credentials([text]) == (text,)  # the square of its length would take minutes


def test_bytes_that_are_not_text_are_escaped() -> None:
    (stored,) = without_credentials(["a\udcffb"])
    assert stored.encode() == b"a\\udcffb"
