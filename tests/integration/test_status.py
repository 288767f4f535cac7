"""What `hlbq status` reads from a database, its words, its JSON, and the live view."""

import io
import json
import math
import os
import pty
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hlbgpt_core.points import Phase, Progress, SavedCheckpoint, Split
from orchestrator.errors import DatabaseBusyError, DatabaseReplacedError, DatabaseVersionError
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import CsvTarget
from orchestrator.queue.workers import DeviceReading
from orchestrator.status.live_view import GONE, LiveView, progress_line, watch
from orchestrator.status.reading import MOST_SWEEPS_LISTED, read_status
from orchestrator.status.text import left_text, notes_of, status_lines, sweep_notes, sweeps_table
from orchestrator.status.waiting import wait_until_ended
from orchestrator.store import OpenMode, Store, open_store
from tests.conftest import VirtualClock
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, upgraded, work

pytestmark = pytest.mark.reader

HLBQ = [sys.executable, "-P", "-m", "orchestrator.cli.main"]
ARMS = [{"depth": depth, "num_heads": heads} for depth in (2, 4) for heads in (1, 2)]


def wait(store: Store, wanted: RunFilter) -> None:
    """As `hlbq wait`, which looks again at once."""
    wait_until_ended(store, wanted, sleep=lambda: None, progress=lambda text: None)


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


def test_a_sweep_whose_last_runs_were_cancelled_or_stopped_early_is_over(store: Store, clock: VirtualClock) -> None:
    """It counted as unfinished for good: a dozen of them hid the time left of all others, and that of one alone was
    "about 0 s left". Its CSV, which a later sweep had taken, was told of in each status."""
    target = CsvTarget(path="/tmp/results.csv", append=False, host=socket.gethostname())
    for _ in range(MOST_SWEEPS_LISTED + 1):
        submit_sweep(store, seeds=[100, 101], csv=target)
    store.cancel(RunFilter(), "ada")
    over = read_status(store, RunFilter(), now=clock())
    assert left_text(over) == [] and sweep_notes(over.sweeps) == []
    half_done(store, clock)
    (told,) = left_text(read_status(store, RunFilter(), now=clock()))
    assert told.startswith("about ") and told.endswith(" left")


def test_finished_sweeps_are_listed_where_they_were_asked_for(store: Store, clock: VirtualClock) -> None:
    """Only the dashboard told the number of a sweep that had ended: even --sweep 1 3 listed the last alone."""
    for _ in range(3):
        submit_sweep(store)
    store.cancel(RunFilter(), "ada")

    def listed(wanted: RunFilter, *, every_sweep: bool = False) -> list[str]:
        status = read_status(store, wanted, now=clock(), every_sweep=every_sweep)
        return [line[0] for line in sweeps_table(status).rows]

    assert listed(RunFilter()) == ["3"]
    assert listed(RunFilter(), every_sweep=True) == ["1", "2", "3"]
    assert listed(RunFilter(sweep_ids=(1, 3))) == ["1", "3"]


def test_time_left_goes_by_parameters_and_tokens_to_do(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, [{"max_tokens": 10_000}, {"max_tokens": 30_000}, {"max_tokens": 30_000, "depth": 4}])
    claim = work(store, register(store), sample_points(2), reason=None)
    clock.advance(100)
    store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    small, _, large = (run.num_params for run in store.runs(RunFilter()))
    (sweep,) = read_status(store, RunFilter(), now=clock()).sweeps
    assert sweep.seconds_left == pytest.approx(300 + 300 * large / small)


def test_the_time_in_which_nobody_worked_on_a_run_tells_nothing_of_its_speed(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, seeds=[100, 101])
    worker = register(store)
    first = work(store, worker, [], reason=None)
    clock.advance(40)
    store.finish(first.lease, Ending(reason=Reason.RELEASED))
    clock.advance(36_000)
    second = work(store, worker, sample_points(2), reason=None)
    clock.advance(60)
    store.finish(second.lease, Ending(reason=Reason.FINISHED))
    (sweep,) = read_status(store, RunFilter(), now=clock()).sweeps
    assert sweep.seconds_left == pytest.approx(100)


def test_runs_that_wait_after_an_error_and_the_speed_of_all_are_told(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, seeds=[1, 2, 3])
    first, second = register(store), register(store)
    work(store, first, sample_points(2), reason=Reason.ERROR, error_message="no such file")
    work(store, first, sample_points(2), reason=None)
    work(store, second, sample_points(2), reason=None)
    store.beat(first, DeviceReading(temperature_celsius=61.0, use_percent=98.0))
    clock.advance(4)
    status = read_status(store, RunFilter(), now=clock())
    assert (status.backing_off, status.tokens_per_second) == (1, 2 * 1234.0)
    assert [run.waits_seconds for run in status.runs] == [6.0, None, None]
    assert [worker.temperature_celsius for worker in status.workers] == [61.0, None]
    text = "\n".join(status_lines(status))
    assert "pending: retry in 6 s" in text and "(1 to retry); 2.5K tokens/s" in text and "98 %" in text


def test_hours_of_devices_are_told_by_sweep(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, seeds=[1, 2])
    work(store, register(store, device="cuda:0"), sample_points(2), reason=None)
    work(store, register(store, pid=4243), sample_points(2), reason=None)
    clock.advance(5400)
    status = read_status(store, RunFilter(), now=clock())
    assert (status.sweeps[0].gpu_hours, status.sweeps[0].device_hours) == (1.5, 1.5)
    header, row = status_lines(status)[2:4]
    assert header.split()[-3:] == ["GPU-hours", "device-hours", "left"] and row.split().count("1.50") == 2


def test_of_a_large_sweep_the_first_failures_are_shown(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, seeds=range(100, 150))
    worker = register(store)
    for _ in range(7):
        work(store, worker, [], reason=Reason.DIVERGED)
    work(store, worker, [], reason=None)
    status = read_status(store, RunFilter(), now=clock())
    assert [run.id for run in status.runs] == [1, 2, 3, 4, 5, 8]


def test_the_words_for_people(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    text = "\n".join(status_lines(read_status(store, RunFilter(), now=clock())))
    assert "8 runs: 4 pending, 1 running, 2 completed, 1 failed" in text
    assert "failed: diverged" in text and "DivergedError: nan" in text
    assert "num_heads" in text and "linear_value" not in text


def test_the_keys_of_json_are_stable(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    found = json.loads(json.dumps(asdict(read_status(store, RunFilter(), now=clock()))))
    assert sorted(found) == sorted(
        "database database_option at counts total sweeps running_total backing_off tokens_per_second runs workers "
        "events held growing listed".split()
    )
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


def test_the_speed_of_a_dead_worker_is_no_longer_shown_after_its_lease(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    claim = store.claim(register(store))
    assert claim is not None
    store.flush(
        claim.lease,
        points=[],
        progress=Progress(
            phase=Phase.TRAIN, step=3, fraction=0.5, tokens_per_second=1e6, tokens_seen=9, memory_bytes=1
        ),
    )
    for seconds, wanted in ((60, 1e6), (1, 0.0)):
        clock.advance(seconds)
        status = read_status(store, RunFilter(), now=clock())
        assert status.tokens_per_second == status.runs[0].tokens_per_second == wanted
    assert ("tokens/s" in "\n".join(status_lines(status))) is False


def test_the_csv_of_another_host_is_named_with_the_command_that_writes_it(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, csv=CsvTarget(path="/data/a.csv", append=False, host="elsewhere"))
    submit_sweep(store, csv=CsvTarget(path="/data/b.csv", append=False, host=socket.gethostname()))
    status = read_status(store, RunFilter(), now=clock())
    command = f"hlbq export{store.location.option} results.csv --sweep 1"
    assert [sweep.export_command for sweep in status.sweeps] == [command, None]
    for lines in (status_lines(status), notes_of(status)):
        assert f"/data/a.csv is kept on elsewhere. Write it here: {command}" in "\n".join(lines)
    told = replace(status, growing=["sweep 1 is done: hlbq compare --sweep 1"])
    assert f"done: hlbq compare{store.location.option} --sweep 1" in "\n".join(status_lines(told))


def test_an_empty_database_says_what_to_type(store: Store, clock: VirtualClock) -> None:
    (line,) = status_lines(read_status(store, RunFilter(), now=clock()))
    assert "no runs yet" in line and "hlbq submit" in line


def test_filters_that_no_run_passes_are_not_taken_for_an_empty_database(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    (line,) = status_lines(read_status(store, RunFilter(tags=("typo",)), now=clock()))
    assert line.endswith(f": no run matches. See all: hlbq status{store.location.option} --all")


def test_a_resumed_run_is_not_taken_for_a_fast_one(store: Store, clock: VirtualClock) -> None:
    submit_sweep(store)
    worker = register(store)
    claim = work(store, worker, sample_points(6), reason=None)
    store.commit_checkpoint(claim.lease, SavedCheckpoint(path="c", sha256="0", step=50))
    store.end_worker(worker, "its process is gone")
    second = store.claim(register(store))
    assert second is not None
    clock.advance(100)
    progress = Progress(phase=Phase.TRAIN, step=75, fraction=0.75, tokens_seen=75_000)
    store.flush(second.lease, points=[], progress=progress)
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
    with LiveView(store, RunFilter(sweep_ids=(1,)), stream=stream) as view:
        view.update()
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("8 runs: 4 pending, 1 running, 2 completed, 1 failed")
    assert "run 4 50% step 70 train" in line


def test_a_database_that_does_not_answer_is_said_beside_the_last_look(
    store: Store, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(store, clock)
    monkeypatch.setattr("orchestrator.status.live_view.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("orchestrator.status.live_view.PLAIN_EVERY_SECONDS", 0.0)
    stream = io.StringIO()
    view = LiveView(store, RunFilter(sweep_ids=(1,)), stream=stream)
    view.update()

    def silence(*_: object, **__: object) -> None:
        raise DatabaseBusyError("no answer", "try again")

    monkeypatch.setattr("orchestrator.status.live_view.read_status", silence)
    view.update()
    first, second = stream.getvalue().splitlines()
    assert second.endswith("the database does not answer") and "1 running" in first and "1 running" in second


def test_a_sweep_that_is_deleted_meanwhile_is_said(
    store: Store, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_sweep(store)
    monkeypatch.setattr("orchestrator.status.live_view.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("orchestrator.status.live_view.PLAIN_EVERY_SECONDS", 0.0)
    stream = io.StringIO()
    view = LiveView(store, RunFilter(sweep_ids=(1,)), stream=stream)
    view.update()
    store.delete([1], "ada")
    view.update()
    first, second = stream.getvalue().splitlines()
    assert "1 pending" in first and "sweep 1 was deleted by ada" in second


def test_a_closed_stream_does_not_disturb_whoever_trains(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    with LiveView(store, RunFilter(sweep_ids=(1,)), stream=stream) as view:
        view.update()
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
    assert watching.wait(timeout=120) in (0, 1)
    assert b"Traceback" not in errors


def test_watch_ends_when_its_reader_has_gone_though_nothing_is_new(tmp_path: Path) -> None:
    location = str(tmp_path / "hlbq.db")
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit_sweep(store)
    watching = subprocess.Popen([*HLBQ, "status", "--watch", "--db", location], stdout=subprocess.PIPE)
    assert watching.stdout is not None and b"1 pending" in watching.stdout.readline()
    watching.stdout.close()
    assert watching.wait(timeout=120) == 0


def test_a_database_that_is_gone_is_said_and_another_in_its_place_ends_the_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.status.live_view.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("orchestrator.status.live_view.PLAIN_EVERY_SECONDS", 0.0)
    path, away = tmp_path / "hlbq.db", tmp_path / "away.db"
    stream = io.StringIO()
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit_sweep(store)
        view = LiveView(store, RunFilter(sweep_ids=(1,)), stream=stream)
        view.update()
        path.rename(away)
        view.update()
        path.write_bytes(away.read_bytes())  # SQLite would go on with the file that it opened
        with pytest.raises(DatabaseReplacedError):
            view.update()
        away.rename(path)
        store.cancel(RunFilter(), "test")
        view.update()
    first, second, third = stream.getvalue().splitlines()
    assert "1 pending" in first and second == f"{first} | {GONE}" and third.startswith("1 run: 1 cancelled")


@pytest.mark.parametrize("look", [watch, wait])
def test_an_upgrade_by_a_newer_hlbq_ends_the_watching(store: Store, look: Callable[[Store, RunFilter], None]) -> None:
    """It read on in tables that it does not know."""
    submit_sweep(store)
    with upgraded(store), pytest.raises(DatabaseVersionError, match="newer than this program's"):
        look(store, RunFilter())


def test_a_closed_stdout_is_no_traceback(tmp_path: Path) -> None:
    location = str(tmp_path / "hlbq.db")
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit_sweep(store)
    command = shlex.join([*HLBQ, "status", "--db", location])
    done = subprocess.run(["sh", "-c", f"exec {command} >&-"], stderr=subprocess.PIPE, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["status", "export - --all", "show 1", "status --json"])
def test_a_full_disk_under_stdout_is_one_message(tmp_path: Path, command: str) -> None:
    location = str(tmp_path / "hlbq.db")
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit_sweep(store)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*HLBQ, *command.split(), "--db", location], stdout=full, stderr=subprocess.PIPE, text=True, timeout=240
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: the output could not be written: No space left on device\nFree some space (df), or: ulimit -a\n",
    )


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGTERM, signal.SIGHUP],
        [signal.SIGINT, signal.SIGINT, signal.SIGINT],
    ],
)
def test_watch_on_a_terminal_follows_its_size_and_leaves_it_as_it_was(
    tmp_path: Path, numbers: list[signal.Signals]
) -> None:
    location = str(tmp_path / "hlbq.db")
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit_sweep(store, name="[red]")
    terminal, inner = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 120))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    watching = subprocess.Popen(
        [*HLBQ, "status", "--watch", "--db", location],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**environment, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(inner)
    seen = read_until(terminal, "[red]")  # the row of the sweep, which stands below the note on workers
    assert "\x1b[?1049h" in seen and "No worker is running" in seen and "num_heads" not in seen
    termios.tcsetwinsize(terminal, (6, 24))
    read_until(terminal, "…")
    for number in numbers:
        watching.send_signal(number)
    assert "\x1b[?25h" in read_until(terminal, "\x1b[?1049l")
    os.close(terminal)
    # Of several the first in the kernel's order counts.
    assert watching.wait(timeout=120) in {0 if number == signal.SIGINT else 128 + number for number in numbers}


def read_until(terminal: int, wanted: str) -> str:
    """What a terminal was sent up to `wanted`, which has to come."""
    seen = b""
    while wanted.encode() not in seen:
        assert select.select([terminal], [], [], 30)[0], f"{wanted!r} did not come in {seen!r}"
        seen += os.read(terminal, 65_536)
    return seen.decode(errors="replace")


def test_the_progress_line_says_how_long_it_will_take(store: Store, clock: VirtualClock) -> None:
    half_done(store, clock)
    assert "about" in progress_line(read_status(store, RunFilter(), now=clock()))
