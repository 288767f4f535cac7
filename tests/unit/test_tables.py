"""Tables of text: aligned, folded where the terminal is narrow, and harmless whatever is in them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.wording.plain import printable
from orchestrator.wording.tables import TextTable, cell_width, wrapped

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def test_tables_are_aligned_and_can_leave_out_empty_columns() -> None:
    table = TextTable(headers=["run", "note", "x"], rows=[["1", "", "a"], ["12", "", "b"]], right=frozenset({"run"}))
    assert table.lines() == ["run  note  x", "  1        a", " 12        b"]
    assert table.without_empty_columns().lines() == ["run  x", "  1  a", " 12  b"]


def test_a_title_stands_above_and_wide_letters_count_twice() -> None:
    table = TextTable(title="two", headers=["name", "x"], rows=[["日本日本", "1"], ["[red]", "2"]])
    assert table.lines() == ["two", "name      x", "日本日本  1", "[red]     2"]
    assert TextTable(headers=["a", "b"], rows=[]).lines() == ["a  b"]


def test_the_widest_columns_are_folded_where_the_terminal_is_narrow() -> None:
    table = TextTable(headers=["check", "fix"], rows=[["disk", "free some space, or use --db elsewhere"]])
    assert table.lines(25) == ["check  fix", "disk   free some space,", "       or use --db", "       elsewhere"]
    assert table.lines(200) == table.lines()


@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4), width=st.integers(28, 90))
# A letter of two cells and one of none: as many letters as cells.
@example(rows=[("", "00\x1b\x1b\x1b", "\x1b\x1b\u2e80\r\u08ca")], width=28)
def test_no_line_is_wider_than_the_terminal_nor_moves_its_cursor(rows: list[tuple[str, ...]], width: int) -> None:
    lines = TextTable(headers=["a", "b", "c"], rows=rows).lines(width)
    assert all(cell_width(line) <= width and line.isprintable() for line in lines)


def test_what_breaks_a_line_is_a_space_and_what_moves_the_cursor_is_shown() -> None:
    assert printable("one\ntwo\tthree\x1b[31m") == "one two three\\x1b[31m"


COMPARED = TextTable(
    title="difference from the baseline",
    headers=["arm", "baseline", "pairs", "difference", "95 % (one look)", "p (one look)", "95 % (always valid)", "p"],
    rows=[
        ["num_heads 16, lr_mult 2.62", "num_heads 8, lr_mult 2.62", "12", "-0.037180", "-0.041230 to -0.033130",
         "<0.001", "-0.051230 to -0.023130", "undecided"],
    ],
)  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_no_word_and_no_number_is_broken(width: int) -> None:
    words = {word for row in (COMPARED.headers, *COMPARED.rows) for cell in row for word in cell.split()}
    lines = COMPARED.lines(width)
    assert words <= {word for line in lines for word in line.split()}
    assert all(len(line) <= width for line in lines)


def test_where_columns_do_not_fit_a_row_is_a_list() -> None:
    table = TextTable(title="two", headers=["name", "x"], rows=[["0123456789abcdef", "1"], ["b", "0123456789"]])
    assert table.lines(24) == ["two", "name  0123456789abcdef", "x     1", "", "name  b", "x     0123456789"]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_terminal_is_too_narrow(width: int) -> None:
    words = "".join(TextTable(title="a title", headers=["name", "日本"], rows=[["one two", "日本日本"]]).lines(width))
    assert "".join(words.split()) == "atitlenameonetwo日本日本日本"
    assert wrapped("one two", width) == "one\ntwo"


def test_sentences_wrap_between_words() -> None:
    assert wrapped("one two-three four", 9) == "one\ntwo-three\nfour"
    assert wrapped("", 9) == ""
