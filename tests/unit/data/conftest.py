"""What the tests of the data rooms share: a cache of their own, small texts, and no network."""

import socket
from pathlib import Path

import pytest


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A text of 4,000 characters, 4,200 bytes: the last line of each ten holds letters of two and three bytes."""
    file = tmp_path / "text.txt"
    lines = [f"line {number:4d} of some text, quiet" for number in range(100)]
    lines = [line if number % 10 else f"{line} né 漢" for number, line in enumerate(lines)]
    file.write_bytes("\n".join(lines).encode())
    return file


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look-up of a name fails at once, as on a machine without a network."""

    def fail(*args: object, **kwargs: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
