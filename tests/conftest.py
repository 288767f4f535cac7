"""What tests of the store share: both databases, and a clock that moves only when told to.

The store is imported where it is used: tests of the trainer alone run where there is only torch, numpy and pytest.
"""

import contextlib
import gc
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.heeded_signals import heed_hang_ups

if TYPE_CHECKING:
    from orchestrator.store import Store
    from tests.postgresql_server import PostgresqlServer
    from tests.ready_databases import ReadyDatabases

DATABASES = ("sqlite", "postgresql")


def pytest_configure() -> None:
    """See heed_hang_ups."""
    heed_hang_ups()


class VirtualClock:
    """Seconds since the epoch that pass only by `advance`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, or go back."""
        self.now += seconds


@pytest.fixture(scope="session")
def postgresql_server() -> "Iterator[PostgresqlServer]":
    """One private server for all tests of the session."""
    from tests.postgresql_server import NoServerError, private_server

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(private_server())
        except NoServerError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{error}, and with CI=true that is a failure")
            pytest.skip(str(error))
        yield server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the readers' tests on PostgreSQL, `make test` runs one in four; `make test-long` runs the others."""
    for item in items:
        on_postgresql = "postgresql" in getattr(item, "callspec", SimpleNamespace(params={})).params.values()
        if on_postgresql and item.get_closest_marker("reader") and zlib.crc32(item.nodeid.encode()) % 4:
            item.add_marker(pytest.mark.long)
    items.sort(key=_places(items).__getitem__)


def _places(items: Sequence[pytest.Item]) -> dict[pytest.Item, float]:
    """Where each test comes. Files of real processes wait most of their time: they are run among those that compute.

    They come in the first two thirds, so that no long one is left over at the end.
    """
    files = [item.path for item in items]
    waits = [path for path in dict.fromkeys(files) if path.parent.name in ("acceptance", "faults")]
    computes = [path for path in dict.fromkeys(files) if path not in waits]
    place = {path: number / len(waits) * 2 / 3 for number, path in enumerate(waits)}
    place |= {path: number / len(computes) for number, path in enumerate(computes)}
    return {item: place[path] for item, path in zip(items, files, strict=True)}


def pytest_collection_finish() -> None:
    """What collecting made stays to the end, and tests drop little: the old are searched for garbage a tenth as often.

    Searched as often as Python does, they took more than a sixth of the time.
    """
    gc.collect()
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 10 * old)


@pytest.fixture(scope="session")
def ready_databases(tmp_path_factory: pytest.TempPathFactory) -> "ReadyDatabases":
    """For tests that take a `store`."""
    from tests.ready_databases import ReadyDatabases

    return ReadyDatabases(template=tmp_path_factory.mktemp("ready") / "hlbq.db")


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a database of its own may be made, once as an SQLite file, once on PostgreSQL; or is, for a `store`."""
    is_ready = "store" in request.fixturenames
    ready: ReadyDatabases = request.getfixturevalue("ready_databases")
    if request.param == "sqlite":
        if is_ready:
            ready.copy_to(tmp_path / "hlbq.db")
        yield str(tmp_path / "hlbq.db")
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    with ready.lend(server) if is_ready else server.lend_database() as url:
        yield url


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still until a test moves it."""
    return VirtualClock()


@pytest.fixture
def store(location: str, clock: VirtualClock) -> "Iterator[Store]":
    """An empty store on either database, with a virtual clock."""
    from orchestrator.store import OpenMode, open_store

    with open_store(location, mode=OpenMode.CREATE, clock=clock) as opened:
        yield opened


@pytest.fixture
def open_again(location: str, clock: VirtualClock) -> "Iterator[Callable[[], Store]]":
    """Opens further connections to the same database, as other processes would."""
    from orchestrator.store import OpenMode, open_store

    opened: list[Store] = []

    def another() -> "Store":
        opened.append(open_store(location, mode=OpenMode.WRITE, clock=clock))
        return opened[-1]

    yield another
    for each in opened:
        each.close()
