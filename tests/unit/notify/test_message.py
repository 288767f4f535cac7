"""What a notice says, whatever people call things."""

import json
import math
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.notify.message import Told, message, message_text, summary
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.notices import Notice, NoticeKind
from orchestrator.queue.runs import Bookkeeping, RunRecord
from orchestrator.queue.states import Reason, Spent, State
from orchestrator.queue.sweeps import SweepRecord

TEXT = st.text(st.characters(codec="utf-8"), max_size=400)


def a_run(**changed: Any) -> RunRecord:
    values: dict[str, Any] = dict.fromkeys(RunRecord.__dataclass_fields__)
    values |= {"id": 12, "uid": "r1", "arm_number": 2, "seed": 101, "settings": {"depth": 4, "width": 64}}
    values |= {"bookkeeping": Bookkeeping(), "spent": Spent(), "facts": {}, "last_val_loss": 3.25}
    return RunRecord(**(values | changed))


def told(kind: NoticeKind, *, name: str = "", note: str = "", error: str = "", loss: float = 3.25) -> Told:
    counts = {State.COMPLETED: 7, State.FAILED: 1}
    failed = kind is NoticeKind.RUN_FAILED
    values: dict[str, Any] = dict.fromkeys(AttemptRecord.__dataclass_fields__)
    values |= {"fence": 2, "reason": Reason.OOM, "step": 30, "error_type": "OutOfMemoryError", "error_message": error}
    return Told(
        notice=Notice(
            id=5,
            sweep_id=3,
            run_id=12 if failed else None,
            fence=2 if failed else None,
            kind=kind,
            at=1.0,
            counts=counts,
            holder="",
            tries=1,
            error="",
            token="",
            by="",
        ),
        sweep=SweepRecord(
            id=3,
            uid="s1",
            name=name,
            note=note,
            created_at=0.0,
            argv=(),
            csv=None,
            wandb_project="",
            definition={"axes": {"depth": [2, 4], "width": [64]}},
            counts=counts,
        ),
        run=a_run() if failed else None,
        attempt=AttemptRecord(**values) if failed else None,
        best=a_run(id=7, last_val_loss=loss),
        database="/d/hlbq.db",
        next_command="hlbq show 12 --db /d/hlbq.db",
    )


def test_a_sweep_that_ended() -> None:
    found = told(NoticeKind.SWEEP_ENDED, name="demo")
    assert summary(found) == "sweep 3 'demo' ended: 8 runs, 7 completed, 1 failed; best validation loss 3.2500 (run 7)"
    said = message(found)
    assert (said["schema"], said["id"], said["event"], said["run"]) == (1, "s1-5", "sweep_ended", None)
    assert said["sweep"]["counts"] == {"pending": 0, "running": 0, "completed": 7, "failed": 1, "cancelled": 0}
    assert said["best"] == {"val_loss": 3.25, "run": 7, "arm": 2, "swept": {"depth": 4}, "seed": 101}


def test_settings_that_have_a_range_are_swept() -> None:
    found = told(NoticeKind.RUN_FAILED)
    sweep = replace(found.sweep, definition={"axes": {"dataset": ["../text"], "width": ["8..64"]}})
    assert message(replace(found, sweep=sweep))["run"]["swept"] == {"width": 64}


def test_a_run_that_failed() -> None:
    found = told(NoticeKind.RUN_FAILED, error="no memory\nat all")
    assert summary(found) == "run 12 of sweep 3 failed (oom; depth=4, seed 101): OutOfMemoryError: no memory at all"
    said = message(found)["run"]
    assert (said["number"], said["seed"], said["reason"], said["attempts"]) == (12, 101, "oom", 2)
    assert said["error_message"] == "no memory\nat all" and said["settings"] == {"depth": 4, "width": 64}


@given(kind=st.sampled_from(NoticeKind), name=TEXT, note=TEXT, error=TEXT, loss=st.floats())
def test_any_text_and_any_loss_is_one_line_of_strict_json(
    kind: NoticeKind, name: str, note: str, error: str, loss: float
) -> None:
    found = told(kind, name=name, note=note, error=error, loss=loss)
    text = message_text(found)
    assert text.count("\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    said = json.loads(text, parse_constant=refuse)
    assert (said["sweep"]["name"], said["sweep"]["note"]) == (name, note)
    assert said["best"]["val_loss"] == (loss if math.isfinite(loss) else None)
    assert said["summary"].isprintable() and len(said["summary"]) <= 300
    assert set(said) == set(message(told(NoticeKind.SWEEP_ENDED)))
