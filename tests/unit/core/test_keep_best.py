"""The checkpoints that outlive a run: that of its best evaluation, and that of its end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hlbgpt_core.points import Directive, Outcome, Point, Split
from hlbgpt_core.settings import Settings
from hlbgpt_core.training import training_run
from hlbgpt_core.training.checkpoint import Checkpointing
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, checkpointing_in, small_data, small_settings

# Its learning rate is so high that the loss goes up again.
UPS_AND_DOWNS = small_settings(max_steps=24, eval_every=2, lr_mult=30.0, log_every=1000)


def keeping_best(folder: Path, *, fence: int = 1) -> Checkpointing:
    return replace(checkpointing_in(folder, fence=fence), keep_best=True)


def evaluations(reporter: Recorder) -> list[Point]:
    return [point for point in reporter.points if point.split is Split.VAL]


def best_on_disk(folder: Path) -> dict[str, object]:
    manifest = json.loads((folder / "checkpoints" / "a1b2" / "best" / "manifest.json").read_text())
    return {"step": manifest["step"], **manifest["state"]}


def run(settings: Settings, reporter: Recorder, place: Checkpointing, resume: Recorder | None = None) -> Outcome:
    newest_first = tuple(reversed(resume.saved)) if resume else ()
    done = train(
        settings, small_data(), seed=1, device="cpu", reporter=reporter, checkpointing=place, resume=newest_first
    )
    return done.outcome


def test_the_best_evaluation_is_kept_and_a_worse_one_does_not_replace_it(tmp_path: Path) -> None:
    reporter = Recorder()
    run(UPS_AND_DOWNS, reporter, keeping_best(tmp_path))
    best = min(evaluations(reporter), key=lambda point: point.loss)
    assert best.step < evaluations(reporter)[-1].step, "the test needs a loss that goes up again"
    assert best_on_disk(tmp_path) == {"step": best.step, "val_loss": best.loss}
    assert reporter.saved == [], "it is no checkpoint to resume from"
    assert [path.name for path in (tmp_path / "checkpoints" / "a1b2").iterdir()] == ["best"]


def test_the_best_loss_survives_a_resume(tmp_path: Path) -> None:
    whole = Recorder()
    run(UPS_AND_DOWNS, whole, keeping_best(tmp_path / "whole"))
    best = min(evaluations(whole), key=lambda point: point.loss)
    first = Recorder(lambda _, progress: Directive.RELEASE if progress.step > best.step else Directive.CONTINUE)
    assert run(UPS_AND_DOWNS, first, keeping_best(tmp_path)) is Outcome.RELEASED
    assert evaluations(first)[-1].step == best.step
    second = Recorder()
    run(UPS_AND_DOWNS, second, keeping_best(tmp_path, fence=2), resume=first)
    assert second.taken_up != [None] and evaluations(second)[0].step > best.step
    assert best_on_disk(tmp_path) == {"step": best.step, "val_loss": best.loss}


def test_a_disk_that_refuses_is_told_of_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote, calls = training_run.write_checkpoint, []

    def refuses_once(*arguments: object, **named: object) -> object:
        calls.append(named)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return wrote(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(training_run, "write_checkpoint", refuses_once)
    reporter = Recorder()
    assert run(small_settings(max_steps=6, eval_every=2), reporter, keeping_best(tmp_path)) is Outcome.FINISHED
    assert ["No space left on device" in text for _, text in reporter.notes] == [True]
    best = min(evaluations(reporter)[1:], key=lambda point: point.loss)
    assert best_on_disk(tmp_path) == {"step": best.step, "val_loss": best.loss}


@pytest.mark.parametrize("keep_last", [True, False])
def test_the_end_is_kept_where_asked_for(keep_last: bool, tmp_path: Path) -> None:
    reporter = Recorder()
    run(small_settings(max_steps=3), reporter, replace(checkpointing_in(tmp_path), keep_last=keep_last))
    assert [saved.step for saved in reporter.saved] == ([3] if keep_last else [])
    assert reporter.calls[-1] == ("checkpoint" if keep_last else "point")


def test_models_that_cannot_be_kept_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run completes all the same, and its user would look for them in vain."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_run, "write_checkpoint", full)
    reporter = Recorder()
    assert run(UPS_AND_DOWNS, reporter, replace(keeping_best(tmp_path), keep_last=True)) is Outcome.FINISHED
    told = [text for action, text in reporter.notes if action == "no checkpoint"]
    assert len(told) == 2 and "the best model so far is not kept" in told[0] and "the last model is not kept" in told[1]
