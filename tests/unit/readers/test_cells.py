"""Cells of a CSV: what is written is read back the same, by hlbq, by JSON and by Python."""

import ast
import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExportError
from orchestrator.export.cells import cell, list_cell, read_cell, read_text_cell, text_cell
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.table_formats import CsvTable

numbers = st.one_of(st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(numbers))
def test_lists_read_back_to_the_bit_in_json_and_python(values: list[float]) -> None:
    text = list_cell(values)
    assert json.loads(text) == values
    assert ast.literal_eval(text) == values


def test_what_is_not_finite_is_1e999_in_lists() -> None:
    text = list_cell([1.5, math.nan, math.inf, -math.inf, None])
    assert text == "[1.5, 1e999, 1e999, -1e999, 1e9999]"
    assert json.loads(text) == ast.literal_eval(text) == [1.5, math.inf, math.inf, -math.inf, math.inf]
    assert read_cell(text) == [1.5, math.inf, math.inf, -math.inf, None]
    assert list_cell([]) == "[]"


@given(texts)
def test_no_text_begins_like_a_formula_and_all_come_back(text: str) -> None:
    escaped = text_cell(text)
    assert not escaped.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert read_text_cell(escaped) == text


@given(numbers)
def test_numbers_are_never_escaped(value: float) -> None:
    assert cell(value) == repr(value)
    assert read_cell(cell(value)) == value


@given(st.lists(st.lists(texts, min_size=2, max_size=2), min_size=1))
def test_rows_of_any_text_read_back(rows: list[list[str]]) -> None:
    stream = io.BytesIO()
    table = CsvTable(stream, [], ["one", "other"])
    for row in rows:
        table.row(row)
    table.close()
    written = io.StringIO(stream.getvalue().decode(), newline="")
    assert list(csv.reader(written)) == [["one", "other"], *rows]


def test_a_text_that_reads_like_a_number_stays_a_text(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("uid,arm_key,seed,other,linear_value\n12345e67,1e5,7,0.5,true\n")
    assert list(read_csv_rows(path)) == [
        {"uid": "12345e67", "arm_key": "1e5", "seed": 7, "other": 0.5, "linear_value": True}
    ]


def test_lists_and_truth_values_of_the_original_tool_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('uid,val_loss,linear_value,note\na,"[4.5, nan, -inf, None]",True,"[nan, x]"\n')
    (row,) = read_csv_rows(path)
    first, second, third, fourth = row["val_loss"]
    assert first == 4.5 and math.isnan(second) and third == -math.inf and fourth is None
    assert row["linear_value"] is True and row["note"] == "[nan, x]"


@pytest.mark.parametrize("text", ['["a", 2]', "[[1], [2]]", '[{"a": 1}]', f"[{'9' * 5000}]", "[" * 9000 + "]"])
def test_only_a_list_of_numbers_is_a_list(text: str) -> None:
    assert read_cell(text) == text


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("uid,seed\na,1,2\n")
    with pytest.raises(ExportError, match="3 cells under a header of 2"):
        list(read_csv_rows(path))
    path.write_text("")
    with pytest.raises(ExportError, match="is empty"):
        list(read_csv_rows(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExportError, match="can't be read"):
        list(read_csv_rows(path))
