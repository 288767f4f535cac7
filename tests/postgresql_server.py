"""A private PostgreSQL server from the system's binaries, for tests and for the fault suite."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Nothing of these outlives the server: tests kill its clients, never the server or the machine.
_HASTY = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"

# Run in a database, it cuts off everybody else there.
END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class NoServerError(Exception):
    """There is no private server here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class PostgresqlServer:
    """A private server on the loopback interface, trusted by whoever reaches it, in a temporary folder.

    `durable` makes it keep what it has acknowledged, as servers do: for tests that kill the server itself. `inside` is
    a command that runs others in a network namespace, where the server then is, at `address`.
    """

    binaries: Path
    folder: Path
    port: int
    as_user: tuple[str, ...]
    durable: bool = False
    address: str = "127.0.0.1"
    inside: tuple[str, ...] = ()
    returned: list[str] = field(default_factory=list)

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://hlbq@{self.address}:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """The same by the server's socket, which is reached from any network namespace."""
        return f"postgresql://hlbq@/{database}?host={self.folder}&port={self.port}"

    def create_database(self) -> str:
        """Make a database of its own for one test; returns its address."""
        name = f"test_{uuid.uuid4().hex}"
        self.run("createdb", "-h", str(self.folder), "-p", str(self.port), "-U", "hlbq", name)
        return self.url(name)

    @contextlib.contextmanager
    def lend_database(self) -> Iterator[str]:
        """An empty database for one test. It is emptied and lent again: each new one is a thousand files."""
        import psycopg

        url = self.returned.pop() if self.returned else self.create_database()
        yield url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(END_OTHERS)
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self.returned.append(url)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its user; what it prints goes to a file (the server keeps it open)."""
        log = self.folder / "commands.log"
        with log.open("a") as output:
            command = [*self.inside, *self.as_user, str(self.binaries / program), *arguments]
            done = subprocess.run(command, cwd=self.folder, stdout=output, stderr=output, timeout=60, check=False)
        if done.returncode:
            raise NoServerError(f"{program} exited with {done.returncode}:\n{log.read_text()[-2000:]}")

    def configure(self, name: str, value: str) -> None:
        """Set one of the server's own settings, and wait until new connections have it."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")
        for _ in range(1000):
            with psycopg.connect(self.url("postgres")) as connection:
                if connection.execute(f"SHOW {name}".encode()).fetchone() == (value,):
                    return
        raise NoServerError(f"{name} did not become {value}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = (
            f"-p {self.port} -c listen_addresses={self.address} -c unix_socket_directories={self.folder} "
            f"-c shared_buffers=32MB -c max_connections=80 {'' if self.durable else _HASTY}"
        )
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-t", "30", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server, cutting off whoever is connected."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")


@contextlib.contextmanager
def private_server(
    *, durable: bool = False, address: str = "127.0.0.1", inside: tuple[str, ...] = ()
) -> Iterator[PostgresqlServer]:
    """A server that is gone after the block. Raises NoServerError where there can't be one."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise NoServerError("psycopg is not installed: pip install 'hlbq[postgresql]'") from None
    binaries, as_user = _postgresql_binaries(), _ordinary_user()
    if binaries is None:
        raise NoServerError("PostgreSQL's programs (initdb) are not installed")
    if as_user is None:
        raise NoServerError("PostgreSQL does not run as root, and there is no user 'postgres' with setpriv or runuser")
    folder = Path(tempfile.mkdtemp(prefix="hlbq-postgresql-"))
    if as_user:
        shutil.chown(folder, "postgres", "postgres")
    server = PostgresqlServer(
        binaries=binaries,
        folder=folder,
        port=_free_port(),
        as_user=as_user,
        durable=durable,
        address=address,
        inside=inside,
    )
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "hlbq", "--auth=trust", "--no-sync", "-E", "UTF8")
        if inside:
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
