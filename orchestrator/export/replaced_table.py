"""Which files a table may replace: a table of runs or points, and no other file."""

import json
from collections.abc import Collection
from pathlib import Path

from orchestrator.errors import ExportError
from orchestrator.export.csv_table import first_row, is_table
from orchestrator.files.given_path import expanded

_NO_TABLE = ("",)


def check_replaceable(path: Path, example: str) -> None:
    """Raise ExportError for a file that is there and no table of runs or points, by its ending; those of the tool
    before hlbq count as such. `example` is what to type instead. An empty file and a device are fine."""
    file = expanded(path)
    if not file.is_file() or not file.stat().st_size:
        return
    if not is_table(_READERS.get(file.suffix.lower(), first_row)(file)):
        raise ExportError(
            f"'{path}' exists already and is not a table of runs, so it is not replaced",
            f"Name another file ({example}), or move that one away.",
        )


def _names_in_json_lines(file: Path) -> Collection[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            found = json.loads(next(lines))
    except (OSError, ValueError):
        return _NO_TABLE
    return found if isinstance(found, dict) else _NO_TABLE


def _names_in_parquet(file: Path) -> Collection[str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ExportError("parquet needs pyarrow, which is not installed", "pip install pyarrow") from None
    try:
        return list(parquet.read_schema(file).names)
    except (OSError, pyarrow.ArrowException):
        return _NO_TABLE


_READERS = {".jsonl": _names_in_json_lines, ".parquet": _names_in_parquet}
