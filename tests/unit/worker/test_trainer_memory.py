"""When a trainer gives the memory that its runs left in torch's pool back to the device."""

from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.errors import OutOfMemoryError
from hlbgpt_core.points import Outcome, TrainingResult
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.states import Reason
from worker import trainer_process
from worker.trainer.messages import Ended, Start
from worker.trainer.pipe_reporter import Control
from worker.trainer.trainer_handle import trainer_command
from worker.trainer_process import Surroundings, attend

FINISHED = TrainingResult(outcome=Outcome.FINISHED, steps=1, tokens_seen=1, training_seconds=1.0, stopped_by="")


def happenings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, slots: int, error: Exception | None) -> list[str]:
    """What the trainer does at the end of a run, in order."""
    found: list[str] = []

    class Outbox:
        def put(self, message: object) -> None:
            assert isinstance(message, Ended)
            found.append(f"ended: {message.reason}")

    class Data:
        def measure_anew(self) -> None:
            assert not found, "before the run"

        def give_memory_back(self) -> None:
            found.append("memory back")

    def train_run(*_: Any) -> TrainingResult:
        if error is not None:
            raise error
        return FINISHED

    monkeypatch.setattr(trainer_process, "train_run", train_run)
    monkeypatch.setattr(trainer_process, "log_to", lambda path: None)
    start = Start(
        run_id=1,
        fence=1,
        uid="a1",
        settings={},
        seed=1,
        log_path=str(tmp_path / "log"),
        state_folder=str(tmp_path),
        checkpoint_every_seconds=0,
    )
    around = Surroundings(device="cuda:0", core_digest="", options=WorkerOptions(slots=slots))
    attend(start, Outbox(), Control(), Data(), around)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("slots", "error", "expected"),
    [
        (1, None, [f"ended: {Reason.FINISHED}"]),
        # Before the end is told: from then on a neighbour may begin a run that wants all of the device.
        (3, None, ["memory back", f"ended: {Reason.FINISHED}"]),
        (3, ValueError("a fault"), ["memory back", f"ended: {Reason.ERROR}"]),
        (1, OutOfMemoryError("out of memory"), ["memory back", f"ended: {Reason.OOM}"]),
    ],
)
def test_memory_goes_back_where_others_may_want_it(
    slots: int, error: Exception | None, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert happenings(monkeypatch, tmp_path, slots=slots, error=error) == expected


def test_the_peak_of_memory_is_of_one_run_and_not_of_a_larger_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The slots of a small arm were budgeted the memory of the largest arm that its trainer had had before."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path))
    done: list[str] = []
    data = trainer_process.WarmData()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("memory back"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: done.append("peak forgotten"))
    data.measure_anew()
    assert done == [], "the first run of a process"
    _ = data.device
    data.measure_anew()
    assert done == ["memory back", "peak forgotten"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel forgets no peak")
def test_the_peak_of_a_process_is_of_one_run_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from hlbgpt_core.device import memory_in_use_bytes

    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path))
    data, cpu = trainer_process.WarmData(), torch.device("cpu")
    _ = data.device
    large = torch.ones(50_000_000)
    before = memory_in_use_bytes(cpu)
    del large
    data.measure_anew()
    assert memory_in_use_bytes(cpu) < before - 100_000_000


def test_the_trainer_is_told_how_many_share_its_device() -> None:
    assert "--slots 3" in " ".join(trainer_command("cuda:0", WorkerOptions(slots=3)))
    assert "--slots" not in trainer_command("cuda:0", WorkerOptions())
