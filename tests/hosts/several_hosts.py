"""Three hosts for real, in network namespaces: `make test-hosts`. Not named test_*, so that `make test` passes it over.

One machine plays the database's host and two hosts of workers; each has its own network and its own processes. A cable
that is cut says nothing to either end, and every scene cuts one for longer than a lease.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import ROOT, Fleet, Ledger, drained, new_sweep, read_ledger, wait_until
from tests.faults.worker_under_fault import Faults
from tests.hosts.network import DATABASE, ONE, OTHER, Network, NoNetworkError, leaves, network
from tests.postgresql_server import NoServerError, PostgresqlServer, private_server
from tests.stand_in_trainer import Plan

# In the order of the real ones (worker/timing.py): a wait for the database, then the self-fence, then the lease.
TIMING = {"beat_seconds": 0.5, "busy_timeout_seconds": 2.0, "self_fence_seconds": 3.5, "lease_seconds": 5.0}
PLAN = Plan(steps=80, step_seconds=0.05, checkpoint_every=5)


@pytest.fixture(scope="module")
def joined() -> Iterator[Network]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(network())
        except NoNetworkError as error:
            _cannot(error)
        yield made


@pytest.fixture(scope="module")
def server(joined: Network) -> Iterator[PostgresqlServer]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(
                private_server(address=joined.address(DATABASE), inside=joined.inside(DATABASE), durable=True)
            )
        except NoServerError as error:
            _cannot(error)
        yield made


def _cannot(error: Exception) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{error}, and with CI set that is a failure")
    pytest.skip(str(error))


class Scene:
    """A database on its own host, seen by the test through the server's socket, and workers on two others."""

    def __init__(self, joined: Network, server: PostgresqlServer, folder: Path, *, shared: bool) -> None:
        self.network = joined
        name = server.create_database().rpartition("/")[2]
        self.seen, self.url = server.socket_url(name), server.url(name)
        self.fleets: dict[str, Fleet] = {}
        for host in (ONE, OTHER):
            (folder / host).mkdir()
            self.fleets[host] = Fleet(
                db=self.url,
                folder=folder / host,
                state=folder / "shared" if shared else None,
                workers=0,
                plan=PLAN,
                faults=Faults(timing=TIMING),
                inside=joined.machine(host),
            )

    def log(self, host: str) -> str:
        """What the host's workers said."""
        return self.fleets[host].log()

    def holder_on(self, store: Store, host: str) -> RunRecord | None:
        """The run that trains on a host, once it has a checkpoint."""
        fleet = self.fleets[host]
        pids = {_pid_inside(pid) for pid in leaves([one.pid for one in fleet.processes])}
        hosts = {_host_inside(pid) for pid in leaves([one.pid for one in fleet.processes])}
        for worker in store.workers():
            if worker.run_id is not None and worker.identity.host in hosts and worker.identity.pid in pids:
                run = store.run(worker.run_id)
                return run if run is not None and run.checkpoint is not None else None
        return None

    def ledger(self) -> Ledger:
        """What the database says of every run."""
        return read_ledger(self.seen, PLAN)

    def stop(self) -> None:
        """End the workers in good order."""
        for fleet in self.fleets.values():
            for pid in leaves([one.pid for one in fleet.processes]):
                os.kill(pid, signal.SIGTERM)
            for one in fleet.processes:
                one.wait(timeout=30)


def _pid_inside(pid: int) -> int:
    """A process's number among the processes of its own host."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [numbers] = [line for line in lines if line.startswith("NSpid:")]
    return int(numbers.split()[-1])


def _host_inside(pid: int) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path(f'/proc/{pid}/ns/pid').stat().st_ino}"


@contextmanager
def scene(joined: Network, server: PostgresqlServer, folder: Path, *, shared: bool) -> Iterator[Scene]:
    """A scene whose workers are gone after the block, and whose cables are whole again."""
    made = Scene(joined, server, folder, shared=shared)
    try:
        yield made
    except BaseException:
        for host in (ONE, OTHER):
            print(f"--- workers on {host}:\n{made.log(host)[-3000:]}", file=sys.stderr)
        raise
    finally:
        for host in (DATABASE, ONE, OTHER):
            joined.mend(host)
        for fleet in made.fleets.values():
            for one in fleet.processes:
                one.kill()  # `unshare --kill-child` takes the worker with it
                one.wait()


@pytest.mark.parametrize("shared", [True, False], ids=["shared-folder", "folders-of-their-own"])
def test_a_host_that_was_cut_off_comes_back_to_find_its_run_finished_elsewhere(
    joined: Network, server: PostgresqlServer, tmp_path: Path, shared: bool
) -> None:
    with scene(joined, server, tmp_path, shared=shared) as here, open_store(here.seen, mode=OpenMode.CREATE) as store:
        store.submit(new_sweep(2))
        here.fleets[ONE].start_one()
        here.fleets[OTHER].start_one()
        wait_until(lambda: here.holder_on(store, ONE) is not None, seconds=60, what="host one trains")
        taken = here.holder_on(store, ONE)
        assert taken is not None
        joined.cut(ONE)
        wait_until(lambda: "training waits" in here.log(ONE), seconds=30, what="the cut-off host stops training")
        wait_until(lambda: bool(_lost(store, taken)), seconds=60, what="its run is given away")
        wait_until(lambda: _state(store, taken) is State.COMPLETED, seconds=60, what="its run finishes elsewhere")
        joined.mend(ONE)
        wait_until(lambda: "no longer held by this worker" in here.log(ONE), seconds=60, what="the zombie is told")
        store.submit(new_sweep(4, max_steps=41))  # so many that the other host can't do them all before it is back
        wait_until(lambda: here.holder_on(store, ONE) is not None, seconds=60, what="host one works again")
        wait_until(lambda: drained(store), seconds=60, what="every run ends")
        here.stop()
        ledger = here.ledger()
        assert ledger.clean and (ledger.runs, ledger.attempts, ledger.lost_supervisors) == (6, 7, 1)
        _wait_for_the_last_session(here)
        _, second = store.attempts(taken.id)
        rewinds = [one.why for one in store.events(run_id=taken.id) if one.action == "rewind"]
        if shared:
            assert second.start_step > 0 and rewinds == []
        else:
            assert second.start_step == 0 and len(rewinds) == 1 and "not in" in rewinds[0]
            assert "starts again from step 0" in here.log(OTHER)
    for host in (ONE, OTHER):
        assert "Traceback" not in here.log(host)


def _connections_from_hosts(here: Scene) -> int:
    """Sessions that the server still keeps for workers: none for those that are gone, however they went."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND application_name = 'hlbq'"
    with psycopg.connect(here.seen) as connection:
        return int(connection.execute(query).fetchone()[0])  # type: ignore[index]


def _wait_for_the_last_session(here: Scene) -> None:
    # The server hears of a client that left a moment after it did.
    wait_until(lambda: _connections_from_hosts(here) == 0, seconds=30, what="the server keeps no session")


def _lost(store: Store, run: RunRecord) -> list[int]:
    return [one.fence for one in store.attempts(run.id) if one.reason is Reason.LOST]


def _state(store: Store, run: RunRecord) -> State:
    found = store.run(run.id)
    assert found is not None
    return found.state


def test_when_the_databases_host_is_cut_off_workers_wait_and_keep_their_points(
    joined: Network, server: PostgresqlServer, tmp_path: Path
) -> None:
    with scene(joined, server, tmp_path, shared=True) as here, open_store(here.seen, mode=OpenMode.CREATE) as store:
        store.submit(new_sweep(2))
        for host in (ONE, OTHER):
            here.fleets[host].start_one()
        for host in (ONE, OTHER):
            wait_until(lambda: here.holder_on(store, host) is not None, seconds=60, what=f"{host} trains")  # noqa: B023
        joined.cut(DATABASE)
        over = time.monotonic() + 1.3 * TIMING["lease_seconds"]
        for host in (ONE, OTHER):
            for words in ("waiting for the database", "training waits"):
                wait_until(lambda: words in here.log(host), seconds=60, what=f"{host} says: {words}")  # noqa: B023
        wait_until(lambda: time.monotonic() > over, seconds=60, what="more than a lease is over")
        joined.mend(DATABASE)
        wait_until(lambda: drained(store), seconds=60, what="every run ends")
        here.stop()
        ledger = here.ledger()
        assert ledger.clean and ledger.attempts == ledger.runs == 2
        _wait_for_the_last_session(here)
    for host in (ONE, OTHER):
        assert "Traceback" not in here.log(host) and "taken for dead" not in here.log(host)


HELD = """
import sys, time
from orchestrator.errors import DatabaseBusyError
from orchestrator.store import OpenMode, open_store
with open_store(sys.argv[1], mode=OpenMode.WRITE, busy_timeout_seconds=2) as store:
    try:
        with store._read() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(20)")
    except DatabaseBusyError as error:
        print(error.message)
"""


def test_a_cable_that_is_cut_while_an_answer_is_awaited_is_noticed_on_both_sides(
    joined: Network, server: PostgresqlServer, tmp_path: Path
) -> None:
    # Nothing is unacknowledged then, so that only a question for a sign of life can tell.
    with scene(joined, server, tmp_path, shared=True) as here, open_store(here.seen, mode=OpenMode.CREATE):
        command = [*joined.inside(ONE), sys.executable, "-c", HELD, here.url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as waiting:
            wait_until(lambda: _asleep(here) == 1, seconds=60, what="the question arrives")
            joined.cut(ONE)
            try:
                said, _ = waiting.communicate(timeout=60)
            finally:
                waiting.kill()
        assert "reported an error" in said or "cannot be reached" in said, said
        wait_until(lambda: _connections_from_hosts(here) == 0, seconds=60, what="the server gives the session up")


def _asleep(here: Scene) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    with psycopg.connect(here.seen) as connection:
        return int(connection.execute(query).fetchone()[0])  # type: ignore[index]


def test_an_address_that_swallows_everything_is_given_up(joined: Network) -> None:
    # A neighbour that nobody is: packets to it go out and are never answered.
    subprocess.run(
        [*joined.inside(ONE), *"ip neigh add 10.77.0.99 lladdr 02:00:00:00:00:99 dev eth0".split()], check=True
    )
    command = [
        sys.executable,
        "-m",
        "orchestrator.cli.main",
        "status",
        "--db",
        "postgresql://ada:pa55word@10.77.0.99/x",
    ]
    done = subprocess.run([*joined.inside(ONE), *command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and "cannot be reached" in done.stderr and "10.77.0.99" in done.stderr
    assert "pa55word" not in done.stderr + done.stdout and "Traceback" not in done.stderr
