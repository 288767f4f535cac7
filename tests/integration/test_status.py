"""What `hlbq status` reads from a database, its words, its JSON, and the live view."""

import io
import json
import math
import os
import socket
import subprocess
import sys

import pytest

from hlbgpt_core.points import Phase, SavedCheckpoint, Split
from orchestrator.records import CsvTarget, Ending, Live, RunFilter
from orchestrator.runs import Reason, State
from orchestrator.status.live_view import LiveView, progress_line
from orchestrator.status.reading import read_status
from orchestrator.status.text import status_lines
from orchestrator.store import OpenMode, Store, open_store
from tests.conftest import VirtualClock
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work

ARMS = [{"depth": depth, "num_heads": heads} for depth in (2, 4) for heads in (1, 2)]


def half_done(store: Store, clock: VirtualClock) -> None:
    """Eight runs: two completed (100 s each), one diverged, one running half-way for 50 s, four pending."""
    submit_sweep(store, ARMS, seeds=[100, 101], name="demo")
    worker = register(store)
    for _ in range(2):
        claim = work(store, worker, sample_points(6), reason=None)
        clock.advance(100)
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    work(store, worker, sample_points(4), reason=Reason.DIVERGED, error_type="DivergedError", error_message="nan")
    work(store, worker, sample_points(8), reason=None)
    clock.advance(40)
    store.beat(worker)
    clock.advance(10)


def test_counts_runs_workers_and_time_left(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    status = read_status(store, RunFilter(), now=clock())
    assert status.counts == {"pending": 4, "running": 1, "completed": 2, "failed": 1, "cancelled": 0}
    assert (status.total, status.running_total) == (8, 1)
    (running,) = [run for run in status.runs if run.state == "running"]
    assert dict(running.settings) == {"depth": 4, "num_heads": 2} and running.seed == 100
    assert running.step == 70 and running.epoch == pytest.approx(0.07)
    assert running.last_train_loss == sample_points(8)[-2].loss and len(running.val_losses) == 4
    assert running.microbatches == 2
    assert running.seconds_left == pytest.approx(50)
    (worker,) = status.workers
    assert worker.run == running.id and not worker.silent and worker.beat_age_seconds == pytest.approx(10)
    # Two arms have finished in 100 s; those of depth 4 are larger and take the longer for it.
    small, large = (next(run.num_params for run in status.runs if run.settings["depth"] == depth) for depth in (2, 4))
    expected = 50 + 2 * 100 + 2 * 100 * large / small
    assert status.sweeps[0].seconds_left == pytest.approx(expected)


def test_the_words_for_people(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    text = "\n".join(status_lines(read_status(store, RunFilter(), now=clock())))
    assert "8 runs: 4 pending, 1 running, 2 completed, 1 failed" in text
    assert "failed: diverged" in text and "DivergedError: nan" in text
    assert "num_heads" in text and "linear_value" not in text


def test_the_keys_of_json_are_stable(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    found = json.loads(json.dumps(read_status(store, RunFilter(), now=clock()).to_dict()))
    keys = "at counts database events running_total runs sweeps tokens_per_second total workers"
    assert sorted(found) == keys.split()
    assert {"id", "sweep", "settings", "seed", "state", "step", "epoch", "fraction", "seconds_left"} <= set(
        found["runs"][0]
    )
    assert {"id", "hostname", "device", "beat_age_seconds", "run", "set_aside", "why"} <= set(found["workers"][0])


def test_a_filter_restricts_what_is_counted(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    submit_sweep(store, seeds=[1])
    assert read_status(store, RunFilter(sweep_ids=(2,)), now=clock()).total == 1
    shallow = read_status(store, RunFilter(sweep_ids=(1,), where={"depth": 2}), now=clock())
    assert shallow.counts["completed"] == 2 and shallow.total == 4
    assert {run.settings["depth"] for run in shallow.runs} == {2}


def test_dead_and_set_aside_workers_are_told_until_another_takes_their_place(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, seeds=[1, 2])
    broken, dead, done = (register(store, device=device) for device in ("cuda:0", "cuda:1", "cuda:2"))
    store.end_worker(broken, "device cuda:0 of laptop is set aside: its last 3 runs failed")
    store.end_worker(dead, "its process 4242 is gone")
    store.end_worker(done, "the queue is empty")
    status = read_status(store, RunFilter(), now=clock())
    assert {worker.id: worker.set_aside for worker in status.workers} == {broken: True, dead: False}
    assert "is set aside" in "\n".join(status_lines(status))
    again = register(store, device="cuda:0")
    assert {worker.id for worker in read_status(store, RunFilter(), now=clock()).workers} == {dead, again}


def test_the_job_of_a_worker_is_shown(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    register(store)
    assert "  job  " not in "\n".join(status_lines(read_status(store, RunFilter(), now=clock())))
    register(store, pid=4243, job="slurm 1234_7")
    status = read_status(store, RunFilter(), now=clock())
    assert [worker.job for worker in status.workers] == ["", "slurm 1234_7"]
    assert "slurm 1234_7" in "\n".join(status_lines(status))


def test_a_worker_without_beats_is_silent(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    register(store)
    clock.advance(61)
    (worker,) = read_status(store, RunFilter(), now=clock()).workers
    assert worker.silent and worker.beat_age_seconds == 61


def test_the_csv_of_another_host_is_named_with_the_command_that_writes_it(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, csv=CsvTarget(path="/data/a.csv", append=False, host="elsewhere"))
    submit_sweep(store, csv=CsvTarget(path="/data/b.csv", append=False, host=socket.gethostname()))
    status = read_status(store, RunFilter(), now=clock())
    assert [sweep.export_command for sweep in status.sweeps] == ["hlbq export results.csv --sweep 1", None]
    assert "/data/a.csv is kept on elsewhere" in "\n".join(status_lines(status))


def test_an_empty_database_says_what_to_type(store: Store, clock: VirtualClock) -> None:
    (line,) = status_lines(read_status(store, RunFilter(), now=clock()))
    assert "no runs yet" in line and "hlbq submit" in line


def test_a_resumed_run_is_not_taken_for_a_fast_one(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    worker = register(store)
    claim = work(store, worker, sample_points(6), reason=None)
    store.commit_checkpoint(claim.lease, SavedCheckpoint(path="c", sha256="0", step=50))
    store.end_worker(worker, "its process is gone")
    second = store.claim(register(store))
    assert second is not None
    clock.advance(100)
    live = Live(phase=Phase.TRAIN, step=75, fraction=0.75, tokens_seen=75_000)
    store.flush(second.lease, points=[], live=live)
    (run,) = [run for run in read_status(store, RunFilter(), now=clock()).runs if run.state == State.RUNNING]
    assert run.seconds_left == pytest.approx(100)  # a quarter in 100 s, a quarter to go


def test_losses_that_are_not_finite_are_shown(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    points = [sample_point(Split.VAL, 1, loss=5.0), sample_point(Split.VAL, 2, loss=math.nan)]
    work(store, register(store), points, reason=None)
    status = read_status(store, RunFilter(), now=clock())
    assert math.isnan(status.runs[0].last_val_loss or 0)
    assert any("nan" in line and "!" in line for line in status_lines(status))


def test_the_live_view_prints_plain_lines_where_there_is_no_terminal(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    stream = io.StringIO()
    with LiveView(store, 1, stream=stream) as view:
        view.update()
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("8 runs: 4 pending, 1 running, 2 completed, 1 failed")
    assert "run 4 50% step 70 train" in line


def test_a_closed_stream_does_not_disturb_whoever_trains(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    with LiveView(store, 1, stream=stream) as view:
        view.update()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_watch_ends_quietly_when_nobody_reads_any_more(tmp_path: os.PathLike[str]) -> None:
    location = os.path.join(tmp_path, "hlbq.db")  # noqa: PTH118
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit_sweep(store)
    code = "from orchestrator.cli.main import main; main()"
    command = [sys.executable, "-c", code, "status", "--watch", "--db", location]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None and watching.stderr is not None
    assert b"1 pending" in watching.stdout.readline()
    watching.stdout.close()
    with open_store(location, mode=OpenMode.WRITE) as store:
        store.cancel(RunFilter(), "test")  # all done: a line is due at the next look
    errors = watching.stderr.read()
    watching.stderr.close()
    assert watching.wait(timeout=60) in (0, 1)
    assert b"Traceback" not in errors


def test_the_progress_line_says_how_long_it_will_take(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    assert "about" in progress_line(read_status(store, RunFilter(), now=clock()))
