"""`hlbq sync` with wandb itself, against a server on loopback and with its files."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.points import Split
from orchestrator.errors import UsageError
from orchestrator.queue.attempts import Claim
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.wandb_sync.leases import OwnFolder
from orchestrator.wandb_sync.session import SyncTiming, Wandb
from orchestrator.wandb_sync.syncing import SyncCounts, Syncer
from tests.store_examples import claim, ending, facts, point, progress, register, saved, submit
from tests.sync_process import SHORT, start_sync
from tests.wandb_files import history
from tests.wandb_server import KEY, Fault, HeldRun, WandbServer, wandb_server

OFFLINE = {"WANDB_MODE": "offline"}
TIMING = SyncTiming(**SHORT)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A database with a sweep for W&B, a worker, and the server."""

    folder: Path
    store: Store
    server: WandbServer
    wandb: Wandb
    worker: int

    said: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "hlbq.db.state"

    def claim(self) -> Claim:
        """Claim the next run, its facts known."""
        taken = claim(self.store, self.worker)
        self.store.flush(taken.lease, points=[], progress=progress(0), facts=facts())
        return taken

    def start(self, *options: str, **environment: str) -> "subprocess.Popen[str]":
        """Start `hlbq sync`."""
        given = {**self.server.environment(), **environment}
        return start_sync(str(self.folder / "hlbq.db"), self.folder, given, *options)

    def sync(self, *options: str, code: int = 0, **environment: str) -> str:
        """Run `hlbq sync`, which must end with `code`; returns what it said."""
        process = self.start(*options, **environment)
        said = process.communicate(timeout=120)[0]
        assert process.returncode == code, said
        return said

    def sync_here(self) -> SyncCounts:
        """One pass within this process, which loads wandb only once."""
        folder = self.state / "wandb"
        with OwnFolder(folder) as own:
            syncer = Syncer(self.store, self.wandb, own, folder, timing=TIMING, say=self.said.append)
            return syncer.send_all(RunFilter(sweep_ids=(1,)))

    def held(self, wandb_id: str) -> HeldRun:
        """The run as the server holds it."""
        return self.server.runs.get(wandb_id, HeldRun())


@pytest.fixture(scope="module")
def server() -> Iterator[WandbServer]:
    with wandb_server() as made:
        yield made


@pytest.fixture(scope="module")
def wandb_here(server: WandbServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wandb]:
    """wandb in this process, logged in to the server."""
    import wandb

    with pytest.MonkeyPatch.context() as patch:
        home = str(tmp_path_factory.mktemp("home"))
        for name, value in {**server.environment(), "HOME": home, "WANDB_MODE": "online"}.items():
            patch.setenv(name, value)
        yield Wandb(TIMING)
        wandb.teardown()


@pytest.fixture
def scene(tmp_path: Path, server: WandbServer, wandb_here: Wandb) -> Iterator[Scene]:
    db = str(tmp_path / "hlbq.db")
    with open_store(db, mode=OpenMode.CREATE) as store:
        submit(store, seeds=3, name="heads", wandb_project="proj", limits=Limits(max_attempts=1))
        yield Scene(folder=tmp_path, store=store, server=server, wandb=wandb_here, worker=register(store))
        server.disarm()


def steps(held: HeldRun) -> list[tuple[str, int]]:
    """The points of a run at the server, in its order."""
    return [("train" if "train/loss" in line else "val", line["step"]) for line in held.history]


def another(scene: Scene) -> Claim:
    """The next run, claimed by a worker of its own."""
    taken = claim(scene.store, register(scene.store, 2))
    scene.store.flush(taken.lease, points=[], progress=progress(0), facts=facts())
    return taken


def test_runs_arrive_with_all_that_belongs_to_them(scene: Scene) -> None:
    running, failed = scene.claim(), another(scene)
    points = [point(1, extra={"lr_head": 0.5, "surprise": 2.0}, grad_norm=1.5), point(1, Split.VAL, loss=3.0)]
    scene.store.commit_checkpoint(running.lease, saved(1), points=points)
    scene.store.flush(running.lease, points=[point(2)])
    scene.store.finish(failed.lease, ending(Reason.DIVERGED, error_type="Diverged"), points=[point(1)])
    said = scene.sync()
    assert "3 points of 2 runs sent" in said

    held = scene.held(running.run.uid)
    assert steps(held) == [("train", 1), ("val", 1)], "up to the checkpoint"
    first, second = held.history
    assert (first["train/loss"], first["train/grad_norm"], first["lr/head"], first["train/surprise"]) == (
        9.99,
        1.5,
        0.5,
        2,
    )
    assert (second["val/loss"], second["tokens_seen"], second["epoch"], second["cumulative_time"]) == (
        3,
        1024,
        0.001,
        0.5,
    )
    assert not held.complete, "it goes on"
    assert (held.last("project"), held.last("jobType"), held.last("tags")) == ("proj", "train", ["hlbq", "heads"])
    assert (held.config["depth"], held.config["data_fingerprint"], held.config["uid"]) == (2, "abc", running.run.uid)
    metrics = json.loads(held.last("config"))["_wandb"]["value"]["m"]
    assert {"tokens_seen", "epoch", "cumulative_time", "step"} <= {one.get("1") for one in metrics}
    assert {"train/*", "val/*", "lr/*"} <= {one.get("2") for one in metrics}
    summary = {name: held.summary[name] for name in ("last_val_loss", "best_val_loss", "best_val_step", "state")}
    assert summary == {"last_val_loss": 3.0, "best_val_loss": 3.0, "best_val_step": 1, "state": "running"}

    other = scene.held(failed.run.uid)
    assert (other.exit_codes, other.summary["state"], other.summary["reason"]) == ([1], "failed", "diverged")
    assert other.last("tags") == ["hlbq", "heads", "failed", "diverged"]
    assert other.last("groupName") == held.last("groupName") is not None

    # Then the rest, and what was sent is not sent again.
    scene.store.finish(running.lease, ending(Reason.FINISHED), points=[point(3), point(3, Split.VAL, loss=2.0)])
    assert (scene.sync_here(), scene.said) == (SyncCounts(runs=1, points=3), ["run 1: 3 points sent"])
    assert steps(held) == [("train", 1), ("val", 1), ("train", 2), ("train", 3), ("val", 3)]
    assert [line["_step"] for line in held.history] == list(range(5)) and (held.changed, held.gaps) == (0, 0)
    assert (held.exit_codes, held.summary["best_val_loss"], held.summary["state"]) == ([0], 2.0, "completed")
    asked = scene.server.requests.total()
    assert scene.sync_here() == SyncCounts()
    assert scene.server.requests["UpsertBucket"] and scene.server.requests.total() == asked

    # The key is wandb's own matter.
    assert [path for path in scene.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert KEY not in said
    assert list((scene.state / "wandb" / "processes").iterdir()) == [], "nothing is left behind"


def test_a_sync_that_dies_before_it_moves_the_mark_sends_nothing_twice(scene: Scene) -> None:
    taken = scene.claim()
    scene.store.commit_checkpoint(taken.lease, saved(3), points=[point(1), point(2), point(3)])
    scene.sync_here()
    # As if killed after W&B took it: the plan is written, the mark is not, and the lease is that of a dead process.
    uid = taken.run.uid
    dead = scene.state / "wandb" / "processes" / "dead"
    dead.mkdir()
    (dead / "lock").touch()
    scene.store.take_sync(uid, "dead")
    scene.store.commit_sync(uid, "dead", rows_sent=0, last_step=0, told="")
    scene.store.take_sync(uid, "dead")
    scene.store.commit_checkpoint(taken.lease, saved(4), points=[point(4)])
    scene.sync_here()
    assert steps(scene.held(uid)) == [("train", step) for step in (1, 2, 3, 4)]
    assert not dead.exists()


def test_a_run_that_restarts_below_the_mark_goes_on_under_a_second_id(scene: Scene) -> None:
    taken = scene.claim()
    scene.store.commit_checkpoint(taken.lease, saved(2), points=[point(1), point(2)])
    scene.store.finish(taken.lease, ending(Reason.ERROR), points=[point(3)])
    scene.sync_here()
    scene.store.retry(RunFilter(run_ids=(taken.run.id,)), "user")
    lease = claim(scene.store, scene.worker).lease
    scene.store.finish(lease, ending(Reason.FINISHED), points=[point(3, loss=1.0), point(4)])
    scene.sync_here()
    before, after = scene.held(taken.run.uid), scene.held(f"{taken.run.uid}-2")
    assert [line["train/loss"] for line in before.history] == [9.99, 9.98, 9.97]
    assert [line["train/loss"] for line in after.history] == [9.99, 9.98, 1.0, 9.96]
    assert before.last("groupName") == after.last("groupName")
    assert (before.summary["state"], after.summary["state"]) == ("failed", "completed")


def test_two_syncs_at_once_send_each_point_once(scene: Scene) -> None:
    taken = [scene.claim(), another(scene)]
    for one in taken:
        scene.store.finish(one.lease, ending(Reason.FINISHED), points=[point(step) for step in range(1, 60)])
    both = [scene.start(), scene.start()]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for one in taken:
        held = scene.held(one.run.uid)
        assert steps(held) == [("train", step) for step in range(1, 60)] and held.changed == 0
    assert scene.store.unsent(RunFilter(), limit=1) == []


def test_what_a_server_refuses_stays_unsent_and_is_said(scene: Scene) -> None:
    taken = scene.claim()
    scene.store.finish(taken.lease, ending(Reason.FINISHED), points=[point(1)])
    scene.server.arm(Fault.REFUSED, path="file_stream", times=100)
    said = scene.sync(code=1)
    assert "W&B did not accept run" in said and "run the same command again" in said and "Traceback" not in said
    mark = scene.store.sync_mark(taken.run.uid)
    assert mark is not None and (mark.rows_sent, mark.lease_owner, mark.told) == (0, "", "")


def upload(scene: Scene) -> None:
    """What a user types later: `wandb sync`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    command = [str(Path(sys.executable).with_name("wandb")), "sync", "--yes"]
    environment = {**own, **scene.server.environment(), "HOME": str(scene.folder)}
    subprocess.run(command, cwd=scene.state, env=environment, timeout=240, capture_output=True, check=True)


def test_offline_files_hold_each_point_once_and_wandb_sync_sends_them(scene: Scene) -> None:
    taken, asked = scene.claim(), scene.server.requests.total()
    uid = taken.run.uid
    scene.store.commit_checkpoint(taken.lease, saved(2), points=[point(1), point(2)])
    assert "upload them with: wandb sync" in scene.sync(**OFFLINE)
    assert scene.server.requests.total() == asked
    upload(scene)
    held = scene.held(uid)
    assert (steps(held), held.complete, held.exit_codes) == ([("train", 1), ("train", 2)], False, []), "it goes on"
    asked = scene.server.requests.total()
    # Killed between the folder and the mark: the folder is found, and no second one is made.
    scene.store.take_sync(uid, "gone")
    scene.store.commit_sync(uid, "gone", rows_sent=0, last_step=0, told="")
    scene.store.finish(taken.lease, ending(Reason.FINISHED), points=[point(3), point(3, Split.VAL)])
    scene.sync(**OFFLINE)
    scene.sync(**OFFLINE)
    files = sorted((scene.state / "wandb").glob("offline-run-*/*.wandb"))
    found = [[(row["step"], "train/loss" in row) for row in history(file)] for file in files]
    assert found == [[(1, True), (2, True)], [(3, True), (3, False)]]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert scene.server.requests.total() == asked

    said = scene.sync("--run", "1", code=0)
    assert "0 points of 0 runs" in said, "what is in the folders is not sent as well"
    for _ in range(2):
        upload(scene)
    assert (held.complete, held.exit_codes) == (True, [0])
    assert steps(held) == [("train", 1), ("train", 2), ("train", 3), ("val", 3)]
    assert [line["_step"] for line in held.history] == [0, 1, 2, 3] and held.summary["state"] == "completed"


def test_folders_that_wait_are_uploaded_before_more_is_sent(scene: Scene) -> None:
    taken = scene.claim()
    scene.store.commit_checkpoint(taken.lease, saved(1), points=[point(1)])
    scene.sync(**OFFLINE)
    scene.store.finish(taken.lease, ending(Reason.FINISHED), points=[point(2)])
    said = scene.sync(code=1)
    assert (
        re.search(r"written offline: wandb sync \S+/offline-run-\S+", said) and scene.held(taken.run.uid).history == []
    )


def test_nobody_logged_in_is_one_clear_line(scene: Scene) -> None:
    process = scene.start(WANDB_API_KEY="")
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert said.splitlines()[0] == f"error: you are not logged in to wandb at {scene.server.url}"
    assert "wandb login" in said.splitlines()[1] and len(said.splitlines()) == 2


def test_no_wandb_installed_or_wandb_switched_off_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"wandb is not installed\npip install wandb"):
        Wandb(SyncTiming())


def test_wandb_switched_off_is_one_clear_line(scene: Scene) -> None:
    assert scene.sync(code=2, WANDB_MODE="disabled").startswith("error: wandb is switched off")


def test_sweeps_that_are_not_marked_need_a_project(tmp_path: Path, scene: Scene) -> None:
    submit(scene.store)
    said = scene.sync("--sweep", "2", code=2)
    assert "sweep 2 was submitted without --log_wandb" in said and "--wandb_project NAME" in said


def test_runs_that_do_not_exist_are_told_of(scene: Scene) -> None:
    said = scene.sync("--sweep", "9", "--wandb_project", "other", code=2)
    assert said.startswith("error: there is no sweep 9 in ")
    assert scene.sync("--run", "99", code=2).startswith("error: there is no run 99 in ")


def test_a_run_that_is_deleted_while_it_is_sent_is_said(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        scene.store.finish(scene.claim().lease, ending(Reason.FINISHED), points=[point(1)])
    take, plan = scene.store.take_sync, scene.store.plan_sync

    def too_late(uid: str, owner: str, **rest: Any) -> Any:
        scene.store.delete([1], "ada")
        return take(uid, owner, **rest)

    def later_still(uid: str, owner: str, **rest: Any) -> bool:
        scene.store.delete([2], "ada")
        return plan(uid, owner, **rest)

    monkeypatch.setattr(scene.store, "take_sync", too_late)
    monkeypatch.setattr(scene.store, "plan_sync", later_still)
    counts = scene.sync_here()
    assert (counts.runs, counts.held, counts.failed) == (0, 0, 0)
    assert scene.said == [f"run {number} was deleted; what W&B holds of it stays there" for number in (1, 2)]
