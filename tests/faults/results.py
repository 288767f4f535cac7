"""What the long fault suite found so far, kept in a file: it goes on over several sittings.

One JSON object a line: a fault, the seed of the part of it that was tried, the commit of the code that was hurt, and
the rows. A part that broke the promise stays too; to try it again, take its line out.
"""

import json
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.faults.report import FaultRow, together

ROOT = Path(__file__).parents[2]
PRODUCT = ("orchestrator", "worker", "hlbgpt_core")
Part = tuple[str, int]
MARK = " *"


class Results:
    """The file at `path`; it need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        # A process that was killed while it wrote leaves half a line: that part is tried again.
        self._found = [found for found in map(_read, lines) if found is not None]

    @property
    def done(self) -> Collection[Part]:
        """The parts that were tried."""
        return {(fault, seed) for fault, seed, _, _ in self._found}

    def add(self, part: Part, commit: str, rows: Sequence[FaultRow]) -> None:
        """Keep what a part came to."""
        name, seed = part
        record = {"fault": name, "seed": seed, "commit": commit, "rows": [asdict(row) for row in rows]}
        with self._path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            text = file.read()
            file.write(("\n" if text and not text.endswith("\n") else "") + json.dumps(record) + "\n")
        self._found.append((name, seed, commit, list(rows)))

    def rows(self, order: Sequence[str], commit: str) -> list[FaultRow]:
        """The rows of all parts, those of one fault added. Code other than `commit` is marked."""
        ranked = sorted(self._found, key=lambda found: (order.index(found[0]), found[1]))
        rows = together([replace(row, code=hurt) for _, _, hurt, rows in ranked for row in rows])
        return [row if row.code == commit else replace(row, code=row.code + MARK) for row in rows]


def _read(line: str) -> tuple[str, int, str, list[FaultRow]] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    rows = [FaultRow(**{**row, "broken": tuple(row["broken"])}) for row in record["rows"]]
    return record["fault"], record["seed"], record["commit"], rows


def product_commit() -> str:
    """The newest commit of the product (not of docs and tests), with a + where something was changed since."""
    try:
        commit = _git("log", "-1", "--format=%h", "--", *PRODUCT)
        return commit + ("+" if _git("status", "--porcelain", "--", *PRODUCT) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
