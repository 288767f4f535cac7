"""The dashboard at a sweep of 10,000 runs: first paint, the cost of an update, and what ten open pages cost writers.

    python -m benchmarks.dashboard [--runs 10000] [--points 100] [--rounds 3] [--seconds 6] [--no-browser]

- first paint: milliseconds from the navigation to the frame after the first rows of the table, in the system's Chromium
on loopback, each in a new profile; medians. The first one, on a server that has read nothing yet, is reported
separately. In turns with it, a sweep of one run shows what the page itself costs. - update: CPU milliseconds of the
whole server process (reading, JSON, HTTP) for each second in which two runs write a point. One page is open and does
what a browser does: it listens, and asks for new points of its curves.
- all curves, comparison: CPU of a server that has read nothing yet, until it has answered with the mean of every
  arm, and with the table of all arms.
- writers: commits a second of 16 processes that write points as fast as they can, without pages and with ten open
  pages, in turns; medians. The pages are clients without a screen, since drawing costs the server nothing.
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.sample_database import make_database
from hlbgpt_core.points import Phase, Point, Progress, Split
from orchestrator.queue.attempts import Lease
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, Store, open_store

WRITERS = 16
PAGES = 10
CURVES_EVERY_SECONDS = 1.5
PAINTED = """
    new MutationObserver((_, seen) => {
        if (!document.querySelector("table.runs tbody tr")) return;
        seen.disconnect();
        requestAnimationFrame(() => setTimeout(() => { window.paintedAt = performance.now(); }));
    }).observe(document, { childList: true, subtree: true });
"""


class Server:
    """A running `hlbq dashboard`."""

    def __init__(self, database: Path) -> None:
        code = "from orchestrator.cli.main import main; main()"
        command = [sys.executable, "-c", code, "dashboard", "--db", str(database), "--port", "0", "--read_only"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.base, _, self.token = self._process.stdout.readline().strip().partition("/#token=")

    def cpu_seconds(self) -> float:
        """CPU time that the server has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def request(self, path: str) -> http.client.HTTPResponse:
        """A GET with the token, on a new connection."""
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=60)
        connection.request("GET", f"/api/{path}", headers={"Authorization": f"Bearer {self.token}"})
        return connection.getresponse()

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        response = self.request(path)
        content = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{path}: {content}")
        return content

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def serving(database: Path) -> Iterator[Server]:
    """A server for the duration of the block."""
    server = Server(database)
    try:
        yield server
    finally:
        server.stop()


class OpenPage:
    """A page of a sweep as the server sees it: asks for everything, then the stream, then new curves after each
    change."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._since = 0
        self.changes = 0
        whole = server.get("sweeps/1")
        while self._read_curves():
            pass
        self._stream = server.request(f"stream/sweep/1?epoch={whole['epoch']}&since={whole['version']}")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _read_curves(self) -> int:
        answer = self._server.get(f"sweeps/1/curves?metric=val_loss&x=steps&since={self._since}")
        self._since = answer["version"]
        return int(answer["left"])

    def _listen(self) -> None:
        asked = 0.0
        # Closing a response during a read raises one of several errors.
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            while not self._stopped.is_set():
                line = self._stream.readline()
                if not line:
                    return
                if line.startswith(b"event: changes"):
                    self.changes += 1
                    if time.monotonic() - asked >= CURVES_EVERY_SECONDS:
                        asked = time.monotonic()
                        self._read_curves()

    def close(self) -> None:
        """Go away."""
        self._stopped.set()
        self._stream.close()


def keep_pages_open(server_base: str, token: str, ready: Any, stop: Any) -> None:
    """A process with PAGES open pages, until `stop`."""
    server = Server.__new__(Server)
    server.base, server.token = server_base, token
    pages = [OpenPage(server) for _ in range(PAGES)]
    ready.set()
    stop.wait()
    for page in pages:
        page.close()
    os._exit(0)


def first_paints(servers: Sequence[Server], rounds: int) -> list[list[float]]:
    """Milliseconds to the first rows of each server's sweep, in turns, each in a new profile."""
    from playwright.sync_api import sync_playwright

    found: list[list[float]] = [[] for _ in servers]
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        arguments += ["--disable-sync", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for _ in range(rounds):
            for server, paints in zip(servers, found, strict=True):
                context = browser.new_context()
                page = context.new_page()
                page.add_init_script(PAINTED)
                page.goto(f"{server.base}/sweeps/1#token={server.token}")
                while not (painted := page.evaluate("window.paintedAt")):
                    time.sleep(0.01)
                paints.append(painted)
                context.close()
        browser.close()
    return found


def print_first_paints(database: Path, folder: Path, runs: int, rounds: int) -> None:
    """Those of the sweep, beside those of a sweep of one run."""
    small = make_database(folder / "small.db", runs=1, points_per_run=0)
    with serving(database) as server, serving(small) as other:
        (first, *others), (_, *beside) = first_paints([server, other], rounds + 1)
    print(
        f"first paint: {runs:,} runs {statistics.median(others):.0f} ms (the server's very first {first:.0f} ms), "
        f"1 run {statistics.median(beside):.0f} ms (medians of {rounds})"
    )


def start_runs(store: Store, count: int) -> list[Lease]:
    """Claim `count` runs, each by a different worker."""
    leases = []
    for number in range(count):
        identity = WorkerIdentity(host="here", hostname="here", pid=1, start_ticks=1, device=f"cuda:{number}")
        claim = store.claim(store.register_worker(identity, lease_seconds=600))
        if claim is None:
            raise RuntimeError("no run waits")
        leases.append(claim.lease)
    return leases


def write_point(store: Store, lease: Lease, step: int) -> None:
    """One val point and the progress, in one transaction: what a worker's flush is."""
    point = Point(
        split=Split.VAL,
        step=step,
        loss=3 + 5 / step,
        acc=0.5,
        pplx=20.0,
        cumulative_time=0.1 * step,
        tokens_seen=65536 * step,
        epoch=1e-3 * step,
        batch_size=64,
        seq_length=1024,
        lr=1e-3,
        weight_decay=0.1,
    )
    store.flush(lease, points=[point], progress=Progress(phase=Phase.TRAIN, step=step, fraction=0.5))


def update_cost(server: Server, store: Store, leases: list[Lease], seconds: int) -> tuple[float, int]:
    """CPU milliseconds of the server per update, and how many updates the page received."""
    page = OpenPage(server)
    step = 10_000
    for lease in leases:
        write_point(store, lease, step)
    time.sleep(2)
    heard, used = page.changes, server.cpu_seconds()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step += 1
        for lease in leases:
            write_point(store, lease, step)
        time.sleep(1)
    used, heard = server.cpu_seconds() - used, page.changes - heard
    page.close()
    return 1e3 * used / max(heard, 1), heard


def costs_of_answers(database: Path) -> tuple[float, float, float]:
    """A new server: CPU seconds and seconds until a page has all curves, and CPU seconds of a comparison."""
    with serving(database) as server:
        server.get("sweeps/1")
        used, started, since, left = server.cpu_seconds(), time.monotonic(), 0, 1
        while left:
            answer = server.get(f"sweeps/1/curves?metric=val_loss&x=steps&since={since}")
            since, left = answer["version"], int(answer["left"])
        curves, waited = server.cpu_seconds() - used, time.monotonic() - started
        used = server.cpu_seconds()
        server.get("sweeps/1/comparison?metric=val_loss")
        return curves, waited, server.cpu_seconds() - used


def write_on(database: str, lease: Lease, barrier: Any, seconds: float, first_step: int, answers: Any) -> None:
    """One writer: as many flushes as it can make in `seconds`."""
    with open_store(database, mode=OpenMode.WRITE) as store:
        write_point(store, lease, first_step)
        barrier.wait()
        commits, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            commits += 1
            write_point(store, lease, first_step + commits)
        answers.put(commits / seconds)


def commits_a_second(database: Path, leases: list[Lease], seconds: float, first_step: int) -> float:
    """All writers together."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(len(leases)), context.Queue()
    writers = [
        context.Process(target=write_on, args=(str(database), lease, barrier, seconds, first_step, answers))
        for lease in leases
    ]
    for writer in writers:
        writer.start()
    total = sum(answers.get(timeout=300) for _ in writers)
    for writer in writers:
        writer.join()
    return float(total)


def writers_with_and_without(database: Path, leases: list[Lease], rounds: int, seconds: float) -> tuple[float, float]:
    """Median commits a second without pages, and with PAGES open pages, in turns."""
    context = multiprocessing.get_context("spawn")
    alone, watched = [], []
    for number in range(rounds):
        first = 1_000_000 * (2 * number + 1)
        alone.append(commits_a_second(database, leases, seconds, first))
        with serving(database) as server:
            ready, stop = context.Event(), context.Event()
            pages = context.Process(target=keep_pages_open, args=(server.base, server.token, ready, stop))
            pages.start()
            ready.wait(120)
            watched.append(commits_a_second(database, leases, seconds, first + 1_000_000))
            stop.set()
            pages.join(20)
    return statistics.median(alone), statistics.median(watched)


def main() -> None:
    """Make the database, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=100, help="a run; one in ten is of the val split")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / "hlbq.db", runs=given.runs, points_per_run=given.points)
        with open_store(str(database), mode=OpenMode.WRITE) as store:
            _reopen(store, WRITERS)
            leases = start_runs(store, WRITERS)
            if not given.no_browser and shutil.which("chromium"):
                print_first_paints(database, Path(folder), given.runs, 2 * given.rounds)
            with serving(database) as server:
                cost, heard = update_cost(server, store, leases[:2], 20)
            curves, waited, compared = costs_of_answers(database)
            print(f"all curves: {curves:.2f} s of a new server's CPU, {waited:.2f} s of waiting")
            print(f"a comparison: {compared:.2f} s of the server's CPU")
            print(f"an update: {cost:.1f} ms of the server's CPU ({heard} updates in 20 s, two runs at work)")
        alone, watched = writers_with_and_without(database, leases, given.rounds, given.seconds)
    print(
        f"{WRITERS} writers: {alone:.0f} commits/s alone, {watched:.0f} with {PAGES} open pages: "
        f"{1 - watched / alone:.1%} slower (medians of {given.rounds})"
    )


def _reopen(store: Store, count: int) -> None:
    """Make the first runs of the finished sweep pending again; hlbq has no such command for completed runs."""
    from sqlalchemy import text

    with store._write() as connection:
        connection.execute(
            text("UPDATE runs SET state = 'pending', reason = NULL, ended_at = NULL WHERE id <= :count"),
            {"count": count},
        )


if __name__ == "__main__":
    main()
