"""What tests of the store share: both databases, and a clock that moves only when told to."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.store import OpenMode, Store, open_store

DATABASES = ("sqlite", "postgresql")


class VirtualClock:
    """Seconds since the epoch that pass only by `advance`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, or go back."""
        self.now += seconds


@dataclass(frozen=True, kw_only=True)
class PostgresqlServer:
    """A private server on the loopback interface, trusted by whoever reaches it, in a temporary folder."""

    binaries: Path
    folder: Path
    port: int
    as_user: tuple[str, ...]

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://hlbq@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Make a database of its own for one test; returns its address."""
        name = f"test_{uuid.uuid4().hex}"
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "hlbq", name)
        return self.url(name)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its user; what it prints goes to a file (the server keeps it open)."""
        log = self.folder / "commands.log"
        with log.open("a") as output:
            command = [*self.as_user, str(self.binaries / program), *arguments]
            done = subprocess.run(command, cwd=self.folder, stdout=output, stderr=output, timeout=60, check=False)
        if done.returncode:
            pytest.fail(f"{program} exited with {done.returncode}:\n{log.read_text()[-2000:]}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # fsync off: these tests kill clients, never the machine.
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} "
            "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=60"
        )
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-t", "30", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server, cutting off whoever is connected."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")


def _postgresql_binaries() -> Path | None:
    """Where initdb and its like are; None where PostgreSQL is not installed."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _ordinary_user() -> tuple[str, ...] | None:
    """What stands before a command so that it does not run as root, which PostgreSQL refuses; None: no such user."""
    if os.geteuid() != 0:
        return ()
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return None
    if shutil.which("setpriv"):
        return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    return ("runuser", "-u", "postgres", "--") if shutil.which("runuser") else None


def _no_postgresql(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and with CI=true that is a failure")
    pytest.skip(reason)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One private server for all tests of the session."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'hlbq[postgresql]'")
    binaries, as_user = _postgresql_binaries(), _ordinary_user()
    if binaries is None:
        _no_postgresql("PostgreSQL's programs (initdb) are not installed")
    if as_user is None:
        _no_postgresql("PostgreSQL does not run as root, and there is no user 'postgres' with setpriv or runuser")
    assert binaries is not None and as_user is not None
    folder = Path(tempfile.mkdtemp(prefix="hlbq-postgresql-"))
    if as_user:
        shutil.chown(folder, "postgres", "postgres")
    server = PostgresqlServer(binaries=binaries, folder=folder, port=_free_port(), as_user=as_user)
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "hlbq", "--auth=trust", "--no-sync", "-E", "UTF8")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database of its own may be made: once as an SQLite file, once on PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "hlbq.db")
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return server.create_database()


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still until a test moves it."""
    return VirtualClock()


@pytest.fixture
def store(location: str, clock: VirtualClock) -> Iterator[Store]:
    """An empty store on either database, with a virtual clock."""
    with open_store(location, mode=OpenMode.CREATE, clock=clock) as opened:
        yield opened


@pytest.fixture
def open_again(location: str, clock: VirtualClock) -> Iterator[Callable[[], Store]]:
    """Opens further connections to the same database, as other processes would."""
    opened: list[Store] = []

    def another() -> Store:
        opened.append(open_store(location, mode=OpenMode.WRITE, clock=clock))
        return opened[-1]

    yield another
    for each in opened:
        each.close()
