"""What W&B is told of a run, worked out from what the database holds."""

import math
from dataclasses import dataclass, replace

import pytest

from hlbgpt_core.points import Split
from orchestrator.queue.points import Sendable, StoredPoint, SyncMark
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import OpenMode, open_store
from orchestrator.wandb_sync.rows import LONGEST_TAG, row_of, still_holds, summary_of, tags_of, upload_of, wandb_id
from tests.store_examples import claim, facts, point, progress, register, submit


@dataclass(frozen=True, kw_only=True)
class Example:
    """A run that has been claimed, with a point of each split at two steps; and its sweep."""

    sendable: Sendable
    sweep: SweepRecord


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    with open_store(str(tmp_path_factory.mktemp("db") / "hlbq.db"), mode=OpenMode.CREATE) as store:
        sweep = submit(store, name="heads", note="why not", wandb_project="p")
        taken = claim(store, register(store))
        store.flush(taken.lease, points=[], progress=progress(0), facts=facts())
        run = store.run(1)
    assert run is not None
    points = [point(1), point(1, Split.VAL, loss=3.0), point(2), point(2, Split.VAL, loss=2.5)]
    stored = [StoredPoint(fence=1, point=one) for one in points]
    return Example(sendable=Sendable(run=run, points=stored, ending=""), sweep=sweep)


@pytest.fixture
def sendable(example: Example) -> Sendable:
    return example.sendable


@pytest.fixture
def sweep(example: Example) -> SweepRecord:
    return example.sweep


def test_a_row_has_its_axes_every_group_s_rate_and_the_user_s_own_metrics() -> None:
    extra = {"lr_head": 0.5, "lr_decay": 0.25, "surprise": 7.0}
    train = row_of(point(3, grad_norm=1.5, microbatches=2, extra=extra))
    assert {name: train[name] for name in ("tokens_seen", "epoch", "cumulative_time", "step")} == {
        "tokens_seen": 3072,
        "epoch": 0.003,
        "cumulative_time": 1.5,
        "step": 3,
    }
    assert (train["train/loss"], train["train/grad_norm"], train["train/acc"], train["train/pplx"]) == (
        9.97,
        1.5,
        0.25,
        2.5,
    )
    assert (train["lr/head"], train["lr/decay"], train["train/surprise"]) == (0.5, 0.25, 7.0)
    val = row_of(point(3, Split.VAL, bits_per_byte=1.25, extra=extra))
    assert (val["val/loss"], val["val/bits_per_byte"], val["val/surprise"]) == (9.97, 1.25, 7.0)
    assert not [name for name in val if name.startswith(("train/", "lr/"))]


def test_numbers_that_are_not_finite_stay_themselves() -> None:
    row = row_of(point(1, loss=math.nan, pplx=math.inf))
    assert math.isnan(row["train/loss"]) and row["train/pplx"] == math.inf


def test_the_summary_has_the_last_and_the_best_finite_validation_loss(sendable: Sendable) -> None:
    worse = StoredPoint(fence=1, point=point(3, Split.VAL, loss=math.nan))
    summary = summary_of(replace(sendable, points=[*sendable.points, worse]))
    assert math.isnan(summary["last_val_loss"])
    assert (summary["best_val_loss"], summary["best_val_step"], summary["state"]) == (2.5, 2, "running")


@pytest.mark.parametrize(
    ("state", "reason", "exit_code", "tags"),
    [
        (State.COMPLETED, Reason.FINISHED, 0, []),
        (State.FAILED, Reason.OOM, 1, ["failed", "oom"]),
        (State.CANCELLED, Reason.CANCELLED, 255, ["cancelled"]),
    ],
)
def test_the_end_of_a_run_is_carried_over(
    sendable: Sendable, state: State, reason: Reason, exit_code: int, tags: list[str], sweep: SweepRecord
) -> None:
    ended = replace(sendable, run=replace(sendable.run, state=state, reason=reason), ending="some end")
    upload = upload_of(ended, sweep, 0, project="p", varying=[])
    assert (upload.exit_code, upload.summary["state"], upload.summary["reason"]) == (exit_code, state, reason)
    assert list(upload.tags) == ["hlbq", "heads", *tags]


def test_a_run_that_goes_on_has_no_exit_code(sendable: Sendable, sweep: SweepRecord) -> None:
    assert upload_of(sendable, sweep, 0, project="p", varying=[]).exit_code is None


def test_a_run_is_named_by_what_varies_in_its_sweep(sendable: Sendable, sweep: SweepRecord) -> None:
    names = [upload_of(sendable, sweep, 0, project="p", varying=varying).name for varying in (["depth"], [])]
    assert names == ["depth 2, seed 100", "seed 100"]


def test_an_evaluation_has_the_original_tool_s_names_too() -> None:
    one = point(3, Split.VAL)
    original = {"batch_size": one.batch_size, "sequence_length": one.seq_length, "learning_rate": one.lr}
    assert row_of(one).items() >= {**original, "weight_decay": one.weight_decay}.items()
    assert "learning_rate" not in row_of(point(3))


def test_the_configuration_is_settings_and_facts(sendable: Sendable, sweep: SweepRecord) -> None:
    config = upload_of(sendable, sweep, 0, project="p", varying=[]).config
    assert config.items() >= sendable.run.settings.items()
    assert (config["data_fingerprint"], config["resolved_precision"], config["trainer_path"]) == (
        "abc",
        "float32",
        "plain",
    )
    assert (config["precision"], config["seed"], config["num_params"]) == ("auto", 100, 2)


def test_long_names_become_tags_that_wandb_takes(sendable: Sendable, sweep: SweepRecord) -> None:
    long = replace(sweep, name="x" * 200)
    assert max(map(len, tags_of(sendable, long))) == LONGEST_TAG


def test_a_curve_that_is_begun_anew_has_an_id_of_its_own() -> None:
    assert [wandb_id("r1", generation) for generation in range(3)] == ["r1", "r1-2", "r1-3"]


def test_a_restart_below_the_mark_is_seen_by_who_wrote_its_last_point(sendable: Sendable) -> None:
    mark = SyncMark(planned_step=2, planned_fence=1)
    again = [replace(one, fence=2) for one in sendable.points]
    assert still_holds(SyncMark(), sendable.points) and still_holds(mark, sendable.points)
    assert not still_holds(mark, sendable.points[:2]), "the last point is gone"
    assert not still_holds(mark, again), "the last point was made again"
    assert still_holds(mark, [*sendable.points[:3], again[3]]), "an evaluation that the next attempt came to"


def test_a_test_point_has_names_of_its_own() -> None:
    row = row_of(point(30, Split.TEST, loss=3.0, bits_per_byte=4.0))
    assert row["test/loss"] == 3.0 and "test/bits_per_byte" in row and "val/loss" not in row
