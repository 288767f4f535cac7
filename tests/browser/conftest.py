"""Real dashboards, real databases and a real Chromium, which is the system's own."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sample_database import make_database
from hlbgpt_core.points import Split
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import Fleet, new_sweep
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work
from tests.stand_in_trainer import Plan

CHROMIUM_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
EVIL = "<img src=x onerror=alert(1)>\"'& </script><b>bold</b> 🦊"
BIG_RUNS = 10_000
WAIT_MS = 20_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests, its profile new and thrown away."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT_MS)

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium, and with CI=true that is a failure: apt-get install chromium")
        pytest.skip("there is no Chromium on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_ARGUMENTS))
        yield browser
        browser.close()


@dataclass(kw_only=True)
class Served:
    """A running `hlbq dashboard`."""

    db: Path
    base: str
    token: str
    process: "subprocess.Popen[str]"

    def store(self) -> Store:
        """The database that it shows."""
        return open_store(str(self.db), mode=OpenMode.WRITE)

    def stop(self) -> None:
        """End the server."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=15)


@contextlib.contextmanager
def serving(db: Path, *options: str, port: int = 0) -> Iterator[Served]:
    """`hlbq dashboard` on a database, as a user starts it."""
    command = [str(Path(sys.executable).with_name("hlbq")), "dashboard", "--db", str(db), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    assert "/#token=" in link, "it printed no link"
    base, _, token = link.partition("/#token=")
    served = Served(db=db, base=base, token=token, process=process)
    try:
        yield served
    finally:
        served.stop()
        process.stdout.close()


@dataclass(kw_only=True)
class Tab:
    """A tab of the browser that notes what must not happen: errors, and requests to anywhere else."""

    page: Any
    served: Served
    problems: list[str] = field(default_factory=list)
    # What a test brings about on purpose, and the browser complains of.
    expected: tuple[str, ...] = ()

    def watch(self) -> None:
        """Note errors from now on."""
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        self.page.on("dialog", lambda dialog: self.problems.append(f"a dialog: {dialog.message}"))
        self.page.on("request", self._check_request)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.problems.append(f"{kind}: {text}")

    def _check_request(self, request: Any) -> None:
        if not request.url.startswith((self.served.base, "data:")):
            self.problems.append(f"a request to {request.url}")

    def visit(self, path: str, *, token: bool = True) -> Any:
        """Open a page by its link; returns Playwright's page."""
        self.page.goto(self.served.base + path + (f"#token={self.served.token}" if token else ""))
        return self.page


OpenTab = Callable[..., Tab]


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[OpenTab]:
    """Opens tabs, each in a context of its own; at the end none of them may have seen a problem."""
    opened: list[tuple[Any, Tab]] = []

    def another(served: Served, **options: Any) -> Tab:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        tab = Tab(page=context.new_page(), served=served)
        tab.watch()
        opened.append((context, tab))
        return tab

    yield another
    problems = [problem for _, tab in opened for problem in tab.problems]
    for context, _ in opened:
        context.close()
    assert problems == []


def until(condition: Callable[[], Any], what: str, seconds: float = WAIT_MS / 1000) -> Any:
    """Wait on a condition; returns its first true value."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A sweep that a real worker is training now: 12 runs over 3 arms, each a few minutes long but for the first."""
    folder = tmp_path_factory.mktemp("demo")
    db = folder / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        # Some that are over, so that there is something to compare; then those that run on.
        submit_sweep(store, [{"depth": depth} for depth in (2, 4)], seeds=range(1, 7), name="finished")
        worker = register(store)
        for number in range(12):
            work(store, worker, sample_points(12, start=5 + (number % 2) + number / 1000))
        store.end_worker(worker, "the queue is empty")
        store.submit(new_sweep(12, arms=3))
    # At 40 steps a second a run outlives the tests of this file.
    fleet = Fleet(db=str(db), folder=folder, workers=2, plan=Plan(steps=100_000, step_seconds=0.025))
    with fleet, serving(db, "--state_dir", str(folder / "state")) as served:
        fleet.keep_up()
        yield served


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A database without anything in it."""
    db = tmp_path_factory.mktemp("empty") / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE):
        pass
    with serving(db) as served:
        yield served


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A sweep of 10,000 runs."""
    db = make_database(tmp_path_factory.mktemp("big") / "hlbq.db", runs=BIG_RUNS, points_per_run=10)
    with serving(db) as served:
        yield served


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Names that would be markup, and runs that failed in every way."""
    folder = tmp_path_factory.mktemp("strange")
    db = folder / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": depth} for depth in (2, 4, 8)], seeds=[1, 2], name=EVIL)
        worker = register(store, hostname=EVIL, device=EVIL)
        error = {"error_type": "Boom", "error_message": EVIL, "error_traceback": f"Traceback\n  {EVIL}"}
        work(store, worker, sample_points(4), reason=Reason.OOM, **error)
        nan = sample_point(Split.TRAIN, 40, loss=float("nan"), extra={EVIL: 0.5, "lr_<b>": 1.0})
        work(store, worker, [*sample_points(4), nan], reason=Reason.DIVERGED, **error)
        claim = work(store, worker, sample_points(4), reason=Reason.ERROR, permanent=True, **error)
        log = folder / "hlbq.db.state" / store.attempts(claim.run.id)[0].log_path
        log.parent.mkdir(parents=True)
        log.write_text(f"the trainer said {EVIL}\n", encoding="utf-8")
        work(store, worker, sample_points(4), reason=None)
    with serving(db) as served:
        yield served
