"""docs/state_machine.md draws the table of transitions as it is, and names every reason."""

import re
from pathlib import Path

from orchestrator.queue.states import TRANSITIONS, Reason

PAGE = (Path(__file__).parents[2] / "docs" / "state_machine.md").read_text(encoding="utf-8")


def test_the_diagram_is_the_table() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): ([\w ]+)$", PAGE, flags=re.MULTILINE)
    assert sorted(drawn) == sorted(
        (str(source), str(target), str(action)) for (source, action), target in TRANSITIONS.items()
    )


def test_every_reason_has_a_row() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == set(Reason)
