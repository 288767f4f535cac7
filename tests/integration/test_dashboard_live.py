"""The dashboard's pages live: what a look tells, streams, changes from a page, a database that goes away."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from hlbgpt_core.points import SavedCheckpoint
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.serving.security import Access
from orchestrator.dashboard.serving.server import advice
from orchestrator.dashboard.watching import feed as feed_module
from orchestrator.dashboard.watching.feed import Feed, Subscriber
from orchestrator.dashboard.watching.overview_watch import OverviewWatch
from orchestrator.dashboard.watching.sweep_watch import COLUMNS
from orchestrator.errors import DatabaseBusyError, DatabaseMissingError, DatabaseReplacedError, DatabaseVersionError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import NewArm, NewRun
from orchestrator.store import Store, open_store
from orchestrator.store.known import known_sweep
from orchestrator.store.opening.engine import OpenMode
from orchestrator.store.tables import database_identity, metadata
from tests.dashboard_client import ARMS, HOST, TOKEN, Client, client, dashboard_at, plain
from tests.sample_sweep import register, sample_points, submit_sweep, upgraded, work

pytestmark = pytest.mark.reader

__all__ = ["client", "plain"]  # fixtures


def changes(found: dict[str, bytes], topic: str = "sweep/1") -> Any:
    """The data of a topic's message."""
    name, data = found[topic].decode().strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_look_tells_only_what_changed(client: Client, store: Store, clock: Any) -> None:
    submit_sweep(store, ARMS, seeds=[100, 101])
    first = client.get("sweeps/1")
    assert client.feed.pages.refresh({"sweep/1"}) == {}
    worker = register(store)
    claim = work(store, worker, sample_points(2), reason=None)
    name, told = changes(client.feed.pages.refresh({"sweep/1"}))
    assert name == "changes" and [row[0] for row in told["rows"]] == [claim.run.id]
    assert told["version"] > first["version"] and told["epoch"] == first["epoch"]
    assert told["counts"]["running"] == 1
    store.flush(claim.lease, points=sample_points(4))
    assert [row[0] for row in changes(client.feed.pages.refresh({"sweep/1"}))[1]["rows"]] == [claim.run.id]
    store.cancel(RunFilter(run_ids=(5, 6)), "ada")
    store.end_worker(worker, "asked to stop")  # its run is lost, and waits again
    rows = {row[0]: row[COLUMNS.index("state")] for row in changes(client.feed.pages.refresh({"sweep/1"}))[1]["rows"]}
    assert rows == {claim.run.id: "pending", 5: "cancelled", 6: "cancelled"}
    assert client.feed.pages.refresh({"sweep/1"}) == {}


def test_an_extended_sweep_is_read_anew(client: Client, store: Store) -> None:
    sweep = submit_sweep(store, ARMS[:2], seeds=[100])
    client.get("sweeps/1")
    arms = [
        NewArm(
            key=f"other {number}",
            settings={**arm.settings, "depth": 16},
            num_params=1,
            num_non_embedding_params=1,
        )
        for number, arm in enumerate(store.arms(sweep.id)[:1])
    ]
    store.extend(sweep.id, arms=arms, runs=[NewRun(arm=0, run_num=1, seed=100)])
    assert changes(client.feed.pages.refresh({"sweep/1"}))[0] == "reload"
    assert len(client.rows()) == 3 and len(client.get("sweeps/1")["arms"]) == 3


def test_curves_of_a_retried_run_are_read_anew(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100, 101])
    worker = register(store)
    work(store, worker, sample_points(8))
    failed = work(store, worker, sample_points(8, start=9.0), reason=Reason.DIVERGED)
    client.rows()
    assert client.get("sweeps/1/curves")["curves"][0]["runs"] == [2] * 4
    store.retry(RunFilter(run_ids=(failed.run.id,)), "ada")  # without a checkpoint all its points go
    client.rows()
    assert client.get("sweeps/1/curves")["curves"][0]["runs"] == [1] * 4


def test_a_rewound_run_loses_what_it_had(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:1], seeds=[100])
    worker = register(store)
    claim = work(store, worker, sample_points(4), reason=None)
    store.commit_checkpoint(claim.lease, SavedCheckpoint(path="c", sha256="0", step=30))
    client.rows()
    assert client.get("sweeps/1/curves")["curves"][0]["x"] == [10, 30]
    store.rewind(claim.lease, SavedCheckpoint(path="b", sha256="0", step=10), why="damaged")
    client.rows()
    assert client.get("sweeps/1/curves")["curves"][0]["x"] == [10]


@pytest.mark.parametrize("action", ["cancel", "pause", "priority"])
def test_controls_change_what_the_commands_change(client: Client, store: Store, action: str) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    work(store, register(store), sample_points(2))
    asked = {"action": action, "sweeps": [1], "priority": 7}
    assert client.post("control/count", asked) == {"count": 3}
    assert client.post("control", asked) == {"changed": 3}
    runs = list(store.runs(RunFilter(run_ids=(2, 3, 4))))
    expected = {"cancel": State.CANCELLED, "pause": True, "priority": 7}
    found = {"cancel": runs[0].state, "pause": runs[0].paused, "priority": runs[0].priority}
    assert found[action] == expected[action]
    event = store.events(run_id=2, limit=1)[0]
    assert (event.action, event.actor) == (action, "ada")
    assert [event.action for event in store.events(run_id=1, limit=1)] == ["finish"]  # what is over stays as it is


def test_retry_and_unpause_of_named_runs(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    client.post("control", {"action": "pause", "runs": [1, 2]})
    client.post("control", {"action": "unpause", "runs": [2]})
    client.post("control", {"action": "cancel", "runs": [3, 4]})
    assert client.post("control", {"action": "retry", "runs": [4]}) == {"changed": 1}
    runs = {run.id: (run.state.value, run.paused) for run in store.runs(RunFilter())}
    assert runs == {1: ("pending", True), 2: ("pending", False), 3: ("cancelled", False), 4: ("pending", False)}


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "drop", "runs": [1]},
        {"action": "cancel"},
        {"action": ["cancel"], "runs": [1]},
        {"action": "cancel", "runs": "1"},
        {"action": "cancel", "runs": [True]},
        {"action": "cancel", "runs": [2**63]},
        {"action": "priority", "runs": [1], "priority": 1e9},
        [],
    ],
)
def test_a_change_that_can_not_be_read_changes_nothing(plain: tuple[Client, Store], asked: Any) -> None:
    client, store = plain
    client.post("control", asked, status=400)
    assert [event.action for event in store.events()] == ["submit"]


def test_a_change_must_be_json_and_short(plain: tuple[Client, Store]) -> None:
    client, _ = plain
    headers = {**client.headers, "origin": f"http://{HOST}"}
    form = client.http.post("/api/control", headers=headers, data={"action": "cancel"})
    assert form.status_code == 415
    headers["content-type"] = "application/json"
    assert client.http.post("/api/control", headers=headers, content=b"{").status_code == 400
    assert client.http.post("/api/control", headers=headers, content=b"[" * 100_000).status_code == 400
    assert client.http.post("/api/control", headers=headers, content=b" " * 2_000_000).status_code == 413


def test_read_only_changes_nothing(store: Store, location: str) -> None:
    submit_sweep(store, ARMS)
    dashboard, database = dashboard_at(location, read_only=True)
    with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
        client = Client(http, dashboard.feed)
        assert client.get("about")["read_only"] is True
        assert "--read_only" in client.post("control", {"action": "cancel", "sweeps": [1]}, status=403)["error"]
    database.close()
    assert store.counts(RunFilter())[State.CANCELLED] == 0


async def _first_messages(feed: Feed, topic: str, count: int, between: Any) -> list[str]:
    looking = asyncio.create_task(feed.run())
    found: list[str] = []
    async for message in feed.stream(topic, "", 0):
        if found and message.decode() == found[-1]:
            continue  # the first look came before `between` did
        found.append(message.decode())
        if len(found) == count:
            break
        between(len(found))
    looking.cancel()
    return found


def test_a_stream_says_hello_then_what_changed_and_how_the_database_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "LOOK_EVERY_SECONDS", 0.02)
    path = tmp_path / "hlbq.db"
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit_sweep(store, ARMS)
    database = Database(str(path))

    def between(count: int) -> None:
        if count == 2:
            path.rename(tmp_path / "away.db")
        if count == 3:
            (tmp_path / "away.db").rename(path)

    found = asyncio.run(_first_messages(Feed(database), "overview", 4, between))
    names = [message.split("\n")[0] for message in found]
    assert names[:2] == ["event: hello", "event: overview"]
    assert names[2] == "event: trouble" and "is gone" in found[2]
    assert names[3] in ("event: trouble", "event: reload")  # a look may fall between the two renames
    database.close()


def test_a_database_that_was_replaced_is_read_no_more(tmp_path: Path) -> None:
    path, other = tmp_path / "hlbq.db", tmp_path / "other.db"
    for place, name in ((path, "first"), (other, "second")):
        with open_store(str(place), mode=OpenMode.CREATE) as store:
            submit_sweep(store, ARMS, name=name)
    dashboard, database = dashboard_at(str(path))
    with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
        client = Client(http, dashboard.feed)
        assert client.get("sweeps/1")["sweeps"][0]["name"] == "first"
        path.unlink()
        assert "is gone" in client.get("sweeps/1", status=503)["error"]
        assert "is gone" in client.post("control", {"action": "cancel", "sweeps": [1]}, status=503)["error"]
        other.rename(path)
        assert "another database is now" in client.get("sweeps/1", status=503)["error"]
    assert database.unusable is not None  # which ends the server
    database.close()


def test_a_restored_backup_of_the_same_database_is_read_on(tmp_path: Path) -> None:
    path, backup = tmp_path / "hlbq.db", tmp_path / "backup.db"
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit_sweep(store, ARMS, name="first")
        store.backup(backup)
    database = Database(str(path))
    backup.replace(path)
    with database.reading() as again:
        assert again.sweep(1) is not None
    assert database.unusable is None and database.generation == 1
    database.close()


def test_the_server_of_a_replaced_database_ends_with_a_word(tmp_path: Path) -> None:
    path, other = tmp_path / "hlbq.db", tmp_path / "other.db"
    for place in (path, other):
        open_store(str(place), mode=OpenMode.CREATE).close()
    command = [sys.executable, "-m", "orchestrator.cli.main", "dashboard", "--db", str(path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().startswith("http://")
    other.replace(path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "error: another database is now at" in errors, errors


def test_who_may_only_read_gets_a_read_only_dashboard(store: Store, location: str) -> None:
    submit_sweep(store, ARMS)
    if store.location.path is not None:
        reader = location
        store.location.path.chmod(0o444)
    else:
        reader = location.replace("hlbq@", "reader@")
        with store._write() as connection:
            connection.execute(text("DROP ROLE IF EXISTS reader"))
            connection.execute(text("CREATE ROLE reader LOGIN"))
            connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
            connection.execute(text("GRANT USAGE ON SCHEMA public TO reader"))
    dashboard, database = dashboard_at(reader)
    with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
        client = Client(http, dashboard.feed)
        assert client.get("about")["read_only"] is True and len(client.get("sweeps/1")["rows"]) == len(ARMS)
        said = client.post("control", {"action": "cancel", "sweeps": [1]}, status=403)["error"]
        assert said == "this dashboard is read-only: you may only read this database"
    assert "Nothing can be changed" in advice(Access(token="t"), database.why_read_only)
    database.close()
    if store.location.path is None:
        with store._write() as connection:
            connection.execute(text("DROP OWNED BY reader"))
            connection.execute(text("DROP ROLE reader"))


def test_a_sweep_that_nobody_looked_at_meanwhile_is_shown_as_it_is(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    assert client.get("sweeps/1")["counts"]["cancelled"] == 0
    store.cancel(RunFilter(run_ids=(1,)), "ada")
    assert client.get("sweeps/1")["counts"]["cancelled"] == 1
    client.feed.pages.refresh({"overview"})
    whole = client.get("sweeps/1")
    store.cancel(RunFilter(run_ids=(2,)), "ada")
    client.feed.pages.refresh({"overview"})  # the reader is on another page, and comes back
    assert client.feed.pages.refresh({"sweep/1"}) == {}
    missed = client.feed.pages.missed("sweep/1", whole["epoch"], whole["version"])
    assert missed is not None and changes({"sweep/1": missed})[1]["counts"]["cancelled"] == 2


def test_what_a_page_missed_before_it_listened_is_told(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    client.feed.pages.refresh({"run/1"})  # another page listens already
    client.get("runs/1")
    store.cancel(RunFilter(run_ids=(1,)), "ada")
    client.feed.pages.refresh({"run/1"})
    missed = client.feed.pages.missed("run/1", "", 0)
    assert missed is not None and changes({"run/1": missed}, "run/1")[1]["state"] == "cancelled"
    assert client.feed.pages.missed("run/99", "", 0) is None


def test_a_database_that_was_filled_anew_in_its_place_is_read_anew(client: Client, store: Store, clock: Any) -> None:
    submit_sweep(store, ARMS, seeds=[100, 101], name="first")
    assert client.get("sweeps/1")["sweeps"][0]["name"] == "first"
    client.feed.pages.refresh({"sweep/1"})
    client.feed.pages.refresh({"sweep/1"})
    with store._write() as writer:  # as an old backup that is restored: the place and the uid are the same
        for table in reversed(metadata.sorted_tables):
            if table is not database_identity:
                writer.execute(table.delete())
            if writer.dialect.name == "postgresql" and "id" in table.c:
                writer.execute(text(f"ALTER SEQUENCE {table.name}_id_seq RESTART"))
    clock.advance(60)
    submit_sweep(store, ARMS[:1], seeds=[100], name="second")
    assert changes(client.feed.pages.refresh({"sweep/1"}))[0] == "reload"
    whole = client.get("sweeps/1")
    assert whole["sweeps"][0]["name"] == "second" and len(whole["rows"]) == 1


@pytest.mark.parametrize("asks", ["refresh", "button"])
def test_another_database_in_the_same_place_is_neither_shown_nor_changed(
    client: Client, store: Store, asks: str
) -> None:
    """A dump of another one that was loaded into the same database of a server. In a file its uid alone changes."""
    submit_sweep(store, ARMS)
    client.get("sweeps/1")
    client.feed.pages.refresh({"sweep/1"})
    with store._write() as writer:
        writer.execute(database_identity.update().values(uid="0" * 32))
    if asks == "button":
        said = client.post("control", {"action": "cancel", "sweeps": [1]}, status=503)["error"]
        assert "another database is now at" in said
    else:
        with pytest.raises(DatabaseReplacedError):
            client.feed.pages.refresh({"sweep/1"})
    assert client.feed.pages.database.unusable is not None  # which ends the server
    assert store.counts(RunFilter())[State.CANCELLED] == 0


def test_an_upgrade_by_a_newer_hlbq_ends_the_server(client: Client, store: Store) -> None:
    """It read on in tables that it does not know."""
    submit_sweep(store, ARMS)
    client.feed.pages.refresh({"sweep/1"})
    with upgraded(store), pytest.raises(DatabaseVersionError, match="newer than this program's"):
        client.feed.pages.refresh({"sweep/1"})
    assert client.feed.pages.database.unusable is not None


def test_tables_that_are_gone_for_a_while_are_a_trouble_that_passes(client: Client, store: Store) -> None:
    """As while a backup is loaded into a server's database."""
    submit_sweep(store, ARMS)
    client.get("sweeps/1")
    client.feed.pages.refresh({"sweep/1"})

    def rename(name: str, to: str) -> None:
        with store._write() as writer:
            writer.execute(text(f"ALTER TABLE {name} RENAME TO {to}"))

    rename("database_identity", "elsewhere")
    with pytest.raises(DatabaseMissingError, match="lacks a table of hlbq"):
        client.feed.pages.refresh({"sweep/1"})
    rename("elsewhere", "database_identity")
    assert client.feed.pages.refresh({"sweep/1"}) == {} and client.feed.pages.database.unusable is None


def test_looks_that_fail_lose_nothing(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    submit_sweep(store, ARMS, seeds=[100])
    client.get("sweeps/1")
    client.feed.pages.refresh({"sweep/1"})
    store.cancel(RunFilter(run_ids=(1,)), "ada")
    with monkeypatch.context() as patched:
        patched.setattr(OverviewWatch, "words", _busy)
        with pytest.raises(DatabaseBusyError):
            client.feed.pages.refresh({"overview", "sweep/1"})
    assert changes(client.feed.pages.refresh({"sweep/1"}))[0] == "reload"
    assert client.get("sweeps/1")["counts"]["cancelled"] == 1


def _busy(*_: Any, **__: Any) -> Any:
    raise DatabaseBusyError("no answer", "Try again.")


def test_the_pages_of_one_browser_take_turns(plain: tuple[Client, Store]) -> None:
    client, _ = plain

    async def opened(browsers: list[str]) -> list[list[str]]:
        heard: list[list[str]] = [[] for _ in browsers]

        async def listen(at: int, browser: str) -> None:
            async for message in client.feed.stream("overview", "", 0, browser):
                heard[at].append(message.decode().split("\n")[0].removeprefix("event: "))

        pages = []
        for at, browser in enumerate(browsers):
            pages.append(asyncio.create_task(listen(at, browser)))
            while "overview" not in heard[at]:
                await asyncio.sleep(0)
        await asyncio.wait(pages, return_when=asyncio.FIRST_COMPLETED, timeout=120)
        still = [not page.done() for page in pages]
        assert still.count(False) == 1 and still.index(False) == 0, heard
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
        return heard

    heard = asyncio.run(opened(["a", "a", "a", "a", "b", "", "", "", "", "", "a"]))
    assert heard[0] == ["hello", "overview", "again"] and all("again" not in one for one in heard[1:])


def test_a_page_that_does_not_keep_up_is_told_to_read_anew() -> None:
    async def flood() -> list[bytes | None]:
        slow = Subscriber(topic="overview")
        for _ in range(200):
            slow.tell(b"news")
        return [slow.messages.get_nowait() for _ in range(slow.messages.qsize())]

    messages = asyncio.run(flood())
    assert len(messages) <= 50 and any(message and b"reload" in message for message in messages)


def test_a_stream_of_what_is_not_there_harms_nobody(plain: tuple[Client, Store]) -> None:
    client, store = plain
    client.get("sweeps/1")
    work(store, register(store), sample_points(2), reason=None)
    found = client.feed.pages.refresh({"run/999", "sweep/1", "run/1"})
    assert set(found) == {"sweep/1", "run/1", "run/999"}
    assert changes(found, "run/999")[0] == "trouble"


def test_deleted_runs_and_sweeps_leave_their_pages(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS[:2], seeds=[100, 101])
    worker = register(store)
    for _ in range(4):
        work(store, worker, sample_points(4))
    client.rows()
    assert client.get("sweeps/1/curves")["curves"][0]["runs"] == [2] * 2
    store.delete([1], "ada")
    assert set(client.rows()) == {2, 3, 4}
    assert client.get("sweeps/1/curves")["curves"][0]["runs"] == [1] * 2
    store.rename(known_sweep(store, 1), "new", "ada")
    client.rows()
    assert client.get("sweeps/1")["sweeps"][0]["name"] == "new"
    store.delete([3], "ada")  # an arm without runs
    assert set(client.rows()) == {2, 4} and client.get("sweeps/1/curves")["curves"]
    store.delete([2, 4], "ada")
    client.feed.pages.refresh({"sweep/1"})
    for path, status in (("sweeps/1", 404), ("sweeps/1/curves", 404), ("runs/1", 404), ("sweeps/1/comparison", 400)):
        assert client.get(path, status)["error"]
    assert client.get("overview")["sweeps"] == []


def test_what_is_deleted_while_its_page_is_open_is_said_once(store: Store, location: str) -> None:
    submit_sweep(store, ARMS[:2])
    topics = {"sweep/1", "run/1", "overview"}
    dashboard, database = dashboard_at(location)
    feed = dashboard.feed
    feed.pages.sweep((1,))
    feed.pages.refresh(topics)
    store.delete([1], "ada")
    found = feed.pages.refresh(topics)
    assert changes(found)[0] == "reload" and "run 1 was deleted by ada" in changes(found, "run/1")[1]["error"]
    feed.pages.sweep((1,))
    assert feed.pages.refresh(topics) == {}
    store.change_tags(known_sweep(store, 1), "ada", add=["new"], remove=[])
    assert changes(feed.pages.refresh(topics))[0] == "reload"
    store.delete([2], "ada")
    name, told = changes(feed.pages.refresh(topics))
    assert name == "trouble" and "sweep 1 was deleted by ada" in told["error"]
    assert feed.pages.refresh(topics) == {}
    database.close()


def test_ctrl_c_ends_it_with_a_page_open(tmp_path: Path) -> None:
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, ARMS)
    code = "from orchestrator.cli.main import main; main()"
    command = [sys.executable, "-c", code, "dashboard", "--db", str(db), "--port", "0", "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    base, _, token = process.stdout.readline().strip().partition("/#token=")
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base, headers=headers, timeout=240) as http:
        assert http.get("/api/sweeps/1").json()["sweeps"][0]["id"] == 1
        assert "uvicorn" not in http.get("/").headers.get("server", "")
        with http.stream("GET", "/api/stream/overview") as stream:
            parts = stream.iter_text()
            assert next(parts).startswith("event: hello")
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(httpx.HTTPError):
                list(parts)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and errors.count("\n") == 2, errors  # the two lines of advice


def test_an_open_address_is_warned_of() -> None:
    words = advice(Access(token="t", host="0.0.0.0"), "")
    assert "warning: other machines can reach 0.0.0.0" in words and "ssh -L" in words
    assert "warning" not in advice(Access(token="t"), "")
