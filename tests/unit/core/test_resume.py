"""A run that was stopped and taken up again gives the points of one that never was, bit for bit."""

from pathlib import Path

import pytest

from hlbgpt_core.points import Directive, Outcome, Phase, Progress, Split
from hlbgpt_core.training.trainer import train
from tests.small_runs import (
    Recorder,
    checkpointing_in,
    is_training,
    one_curve,
    release_at,
    small_data,
    small_settings,
    without_time,
)

RECIPES = ("0.4.1", "0.3.0")


def uninterrupted(recipe: str) -> Recorder:
    reporter = Recorder()
    train(small_settings(recipe), small_data(), seed=3, device="cpu", reporter=reporter)
    return reporter


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_small_run_has_what_resuming_could_get_wrong(recipe: str) -> None:
    points = [point for point in uninterrupted(recipe).points if point.split is Split.TRAIN]
    assert {point.seq_length for point in points} == {8, 16, 32}
    assert max(point.microbatches or 0 for point in points) > 1
    assert len({point.microbatches for point in points}) > 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_released_before_any_batch_and_resumed(recipe: str, tmp_path: Path) -> None:
    whole = uninterrupted(recipe)
    within_a_step = at_a_doubling = in_evaluation = 0
    for number, progress in enumerate(whole.progresses):
        within_a_step += is_training(progress) and progress.microbatch > 0
        at_a_doubling += is_training(progress) and progress.microbatch == 0 and progress.step in (5, 9)
        in_evaluation += progress.phase is Phase.EVALUATE
        folder = tmp_path / str(number)
        first, second = Recorder(release_at(number)), Recorder()
        result = train(
            small_settings(recipe),
            small_data(),
            seed=3,
            device="cpu",
            reporter=first,
            checkpointing=checkpointing_in(folder),
        )
        assert result.outcome is Outcome.RELEASED
        assert [saved.step for saved in first.saved] == ([progress.step] if progress.step else [])
        result = train(
            small_settings(recipe),
            small_data(),
            seed=3,
            device="cpu",
            reporter=second,
            checkpointing=checkpointing_in(folder, fence=2),
            resume=first.saved,
        )
        assert result.outcome is Outcome.FINISHED
        assert second.taken_up == first.saved
        assert one_curve(first, second, progress.step) == without_time(whole.points), progress
    assert within_a_step and at_a_doubling and in_evaluation


def test_many_stops_in_one_run(tmp_path: Path) -> None:
    whole = uninterrupted("0.4.1")
    points, saved, fence, outcome = [], [], 0, Outcome.RELEASED
    while outcome is Outcome.RELEASED:
        fence += 1
        reporter = Recorder(release_at(7))
        outcome = train(
            small_settings(),
            small_data(),
            seed=3,
            device="cpu",
            reporter=reporter,
            checkpointing=checkpointing_in(tmp_path, fence=fence),
            resume=saved[-1:],
        ).outcome
        points = [point for point in points if not saved or point.step <= saved[-1].step] + reporter.points
        saved += reporter.saved
    assert fence > 3
    assert without_time(points) == without_time(whole.points)


def test_training_seconds_go_on(tmp_path: Path) -> None:
    first, second = Recorder(release_at(12)), Recorder()
    settings, data, place = small_settings(), small_data(), checkpointing_in(tmp_path)
    before = train(settings, data, seed=3, device="cpu", reporter=first, checkpointing=place)
    train(settings, data, seed=3, device="cpu", reporter=second, checkpointing=place, resume=first.saved)
    assert second.points[0].cumulative_time > before.training_seconds > 0


def test_checkpoints_between_steps_change_nothing_and_resume(tmp_path: Path) -> None:
    whole = uninterrupted("0.4.1")
    wanted = Recorder(lambda number, _: Directive.CHECKPOINT if number % 9 == 4 else Directive.CONTINUE)
    settings, data = small_settings(), small_data()
    train(settings, data, seed=3, device="cpu", reporter=wanted, checkpointing=checkpointing_in(tmp_path))
    assert without_time(wanted.points) == without_time(whole.points)
    assert len(wanted.saved) > 2
    for saved in wanted.saved:
        again = Recorder()
        place = checkpointing_in(tmp_path, fence=2)
        train(settings, data, seed=3, device="cpu", reporter=again, checkpointing=place, resume=[saved])
        assert one_curve(wanted, again, saved.step) == without_time(whole.points)


def test_every_seconds_and_order_of_reports(tmp_path: Path) -> None:
    reporter = Recorder()
    place = checkpointing_in(tmp_path, every_seconds=0.0)
    train(small_settings(max_steps=4), small_data(), seed=3, device="cpu", reporter=reporter, checkpointing=place)
    assert [saved.step for saved in reporter.saved] == [1, 2, 3]
    # Each checkpoint comes after the point of its step and before the next one's.
    order = [call for call in reporter.calls if call in ("point", "checkpoint")]
    assert order == ["point", "checkpoint"] * 3 + ["point", "point"]


def test_a_damaged_newest_falls_back_to_the_previous_then_to_the_start(tmp_path: Path) -> None:
    settings, data = small_settings(), small_data()
    first = Recorder()
    train(
        settings,
        data,
        seed=3,
        device="cpu",
        reporter=first,
        checkpointing=checkpointing_in(tmp_path, every_seconds=0.0),
    )
    previous, newest = first.saved[-2:]

    def resumed_at() -> object:
        reporter = Recorder()
        place = checkpointing_in(tmp_path, fence=2)
        train(settings, data, seed=3, device="cpu", reporter=reporter, checkpointing=place, resume=[newest, previous])
        assert len(reporter.taken_up) == 1 and reporter.calls[0] == "resumed"
        taken = reporter.taken_up[0]
        assert one_curve(first, reporter, taken.step if taken else 0) == without_time(first.points)
        return taken

    assert resumed_at() == newest
    model = tmp_path / newest.path / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-5] ^= 1
    model.write_bytes(content)
    assert resumed_at() == previous
    (tmp_path / previous.path / "manifest.json").unlink()
    assert resumed_at() is None


@pytest.mark.parametrize("change", [{"seed": 4}, {"lr_mult": 0.4}, {"fingerprint": "other"}])
def test_a_checkpoint_of_another_run_is_not_taken_up(
    change: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = Recorder(release_at(12)), Recorder()
    place = checkpointing_in(tmp_path)
    train(small_settings(), small_data(), seed=3, device="cpu", reporter=first, checkpointing=place)
    train(
        small_settings(lr_mult=change.get("lr_mult", 0.3), max_steps=14),
        small_data(fingerprint=str(change.get("fingerprint", "made-up"))),
        seed=int(str(change.get("seed", 3))),
        device="cpu",
        reporter=second,
        checkpointing=place,
        resume=first.saved,
    )
    assert second.taken_up == [None]
    assert "is of another run" in capsys.readouterr().err
    assert second.points[0].step == 1


def test_a_folder_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    reporter = Recorder()
    place = checkpointing_in(tmp_path, every_seconds=0.0)
    result = train(small_settings(), small_data(), seed=3, device="cpu", reporter=reporter, checkpointing=place)
    assert result.outcome is Outcome.FINISHED and reporter.saved == []
    assert [action for action, _ in reporter.notes] == ["no checkpoint"]


def test_a_failed_write_leaves_nothing_and_a_later_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hlbgpt_core.training import checkpoint

    real, calls = checkpoint.write_flushed, []

    def full_at_first(path: Path, content: bytes) -> str:
        calls.append(path)
        if len(calls) <= 2:
            real(path, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(checkpoint, "write_flushed", full_at_first)
    reporter = Recorder()
    place = checkpointing_in(tmp_path, every_seconds=0.0)
    train(small_settings(max_steps=5), small_data(), seed=3, device="cpu", reporter=reporter, checkpointing=place)
    assert [saved.step for saved in reporter.saved] == [3, 4]
    assert sorted(path.name for path in (tmp_path / "checkpoints" / "a1b2").iterdir()) == ["1-3", "1-4"]


def test_cancel_returns_at_once(tmp_path: Path) -> None:
    def cancel(number: int, _: Progress) -> Directive:
        return Directive.CANCEL if number == 9 else Directive.CONTINUE

    reporter = Recorder(cancel)
    place = checkpointing_in(tmp_path)
    result = train(small_settings(), small_data(), seed=3, device="cpu", reporter=reporter, checkpointing=place)
    assert result.outcome is Outcome.CANCELLED
    assert len(reporter.progresses) == 10 and reporter.saved == []


def test_a_resumed_run_keeps_its_number_of_threads(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    first, second, third = Recorder(release_at(7)), Recorder(), Recorder()
    train(
        small_settings(),
        small_data(),
        seed=3,
        device="cpu",
        reporter=first,
        checkpointing=checkpointing_in(tmp_path),
        fixed={"threads": 1},
    )
    try:
        torch.set_num_threads(2)
        train(
            small_settings(),
            small_data(),
            seed=3,
            device="cpu",
            reporter=second,
            checkpointing=checkpointing_in(tmp_path, fence=2),
            resume=first.saved,
            fixed={"threads": 1},
        )
        train(small_settings(max_steps=1), small_data(), seed=3, device="cpu", reporter=third)
    finally:
        torch.set_num_threads(before)
    assert [one.threads for one in (*first.known, *second.known, *third.known)] == [1, 1, 2]
    assert second.known[0].provenance["threads"] == 1
    assert one_curve(first, second, first.saved[0].step) == without_time(uninterrupted("0.4.1").points)
