"""A short draw of how workers die in the field. `make test` has acceptance tests of its own for each of these."""

from importlib import import_module

import pytest

from tests.faults.suite import FIELD, QUICK_SCALE, prepared_ground


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FIELD)
def test_a_short_draw_keeps_the_promise(name: str) -> None:
    with prepared_ground() as ground:
        rows = import_module(f"tests.faults.{name}").run(QUICK_SCALE, ground)
    assert [row.complaint for row in rows if not row.kept] == [] != rows
