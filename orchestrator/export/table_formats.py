"""The formats of an exported table: csv, jsonl and parquet, each written block by block."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from orchestrator.errors import ExportError
from orchestrator.export.blocks import Block, plain_columns
from orchestrator.export.cells import NOT_RECORDED, cell, list_cell, quoted
from orchestrator.export.columns import LISTS, Column, Kind


class TableWriter(Protocol):
    """Writes a table's blocks to its binary stream."""

    def write(self, block: Block) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what is left; the stream stays open."""


class CsvTable:
    """Comma-separated values; cells.py formats the values. `others` are columns that new rows leave empty."""

    def __init__(self, stream: IO[bytes], columns: Sequence[Column], others: Sequence[str] = ()) -> None:
        # An error message can hold bytes that are not text; they must not spoil the table.
        self._text = io.TextIOWrapper(
            stream, encoding="utf-8", errors="backslashreplace", newline="", write_through=False
        )
        self._plain = csv.writer(self._text, lineterminator="\n")
        self._quoted = csv.writer(self._text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self.row([*(column.name for column in columns), *others])
        self._empty = [[None]] * len(others)
        self._holds_lists = any(column.kind in LISTS for column in columns)
        self._texts = [column.kind is Kind.TEXT for column in columns]

    def row(self, cells: Iterable[str]) -> None:
        """Write one row of finished cells."""
        self._text.write(",".join(map(quoted, cells)) + "\n")

    def write(self, block: Block) -> None:
        """Write some rows."""
        if not self._holds_lists:
            self._write_single_values(block)
            return
        values = (values[0] for values in (*block, *self._empty))
        # Without `csv`, which checks every character of the long lists.
        texts = (f'"{list_cell(one)}"' if isinstance(one, tuple | list) else quoted(cell(one)) for one in values)
        self._text.write(",".join(texts) + "\n")

    def _write_single_values(self, block: Block) -> None:
        writer = self._plain
        columns: list[Sequence[Any]] = []
        for values, is_text in zip(block, self._texts, strict=True):
            # `csv` writes plain numbers: None as nothing and a float by its repr, and it is fast.
            if is_text:
                known = {value: cell(value) for value in set(values)}
                values = [known[value] for value in values]
                # Python 3.11 leaves a lone carriage return unquoted, and then refuses to read it.
                if any("\r" in text for text in known.values()):
                    writer = self._quoted
            columns.append(values)
        writer.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        """Write what is left; the stream stays open."""
        self._text.detach()


class JsonLines:
    """One JSON object per row. Lists are as in the CSV, with null for what was not recorded; single numbers that are
    not finite are texts: "nan"."""

    def __init__(self, stream: IO[bytes], columns: Sequence[Column]) -> None:
        self._stream = stream
        self._names = [json.dumps(column.name) for column in columns]

    def write(self, block: Block) -> None:
        """Write some rows."""
        for values in zip(*plain_columns(block), strict=True):
            pairs = (f"{name}: {_json(value)}" for name, value in zip(self._names, values, strict=True))
            self._stream.write(f"{{{', '.join(pairs)}}}\n".encode())

    def close(self) -> None:
        """Nothing is held back."""


def _json(value: Any) -> str:
    if value is None or isinstance(value, (bool, str, int)):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f'"{value!r}"'
    return list_cell(value).replace(NOT_RECORDED, "null")


class ParquetTable:
    """Parquet through pyarrow. Non-finite and missing numbers stay distinct."""

    # Rows are gathered into groups: one group per run would make a file of headers.
    VALUES_AT_A_TIME = 500_000

    def __init__(self, stream: IO[bytes], columns: Sequence[Column]) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise ExportError("parquet needs pyarrow, which is not installed", "pip install pyarrow") from None
        types = {
            Kind.INTEGER: pyarrow.int64(),
            Kind.NUMBER: pyarrow.float64(),
            Kind.TRUTH: pyarrow.bool_(),
            Kind.TEXT: pyarrow.string(),
            Kind.INTEGERS: pyarrow.list_(pyarrow.int64()),
            Kind.NUMBERS: pyarrow.list_(pyarrow.float64()),
        }
        self._schema = pyarrow.schema([(column.name, types[column.kind]) for column in columns])
        self._lists = [column.kind in LISTS for column in columns]
        self._writer = parquet.ParquetWriter(stream, self._schema)
        self._waiting: list[list[Any]] = [[] for _ in columns]
        self._values = 0

    def write(self, block: Block) -> None:
        """Write some rows, or hold them until there are enough for a group."""
        for waiting, values, are_lists in zip(self._waiting, plain_columns(block), self._lists, strict=True):
            waiting.extend(values)
            self._values += sum(len(value or ()) for value in values) if are_lists else len(values)
        if self._values >= self.VALUES_AT_A_TIME:
            self._flush()

    def close(self) -> None:
        """Write what is left and the file's footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        arrays = [
            pyarrow.array(values, type=field.type) for values, field in zip(self._waiting, self._schema, strict=True)
        ]
        self._writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._waiting = [[] for _ in self._waiting]
        self._values = 0


FORMATS: Mapping[str, Callable[[IO[bytes], Sequence[Column]], TableWriter]] = {
    ".csv": CsvTable,
    ".jsonl": JsonLines,
    ".parquet": ParquetTable,
}


def format_of(path: Path) -> Callable[[IO[bytes], Sequence[Column]], TableWriter]:
    """The format that the file's ending names. Raises ExportError for another ending."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        bare = path.with_suffix("")  # of x.csv.gz x.csv is left
        instance = bare if bare.suffix.lower() in FORMATS else path.with_suffix(".csv")
        name = "results.csv" if path.name.startswith("-") else instance.name
        raise ExportError(
            f"'{path}': the ending '{path.suffix}' is not a table format",
            f"Use one of {', '.join(FORMATS)}, for instance {name}.",
        )
    return found
