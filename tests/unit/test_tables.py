"""Tables of text: aligned, folded where the terminal is narrow, and harmless whatever is in them."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.wording.plain import printable
from orchestrator.wording.tables import TextTable, cell_width

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
def test_no_line_is_wider_than_the_terminal_nor_moves_its_cursor(rows: list[tuple[str, ...]], width: int) -> None:
    lines = TextTable(headers=["a", "b", "c"], rows=rows).lines(width)
    assert all(cell_width(line) <= width and line.isprintable() for line in lines)


def test_what_breaks_a_line_is_a_space_and_what_moves_the_cursor_is_shown() -> None:
    assert printable("one\ntwo\tthree\x1b[31m") == "one two three\\x1b[31m"
