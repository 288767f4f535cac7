"""hlbgpt_core edited while workers train for real: comments, editors' files, code, code that does not even parse.

The workers run from a copy of this repository. Runs that would go on with other code are held until it is declared the
same, which it is (what is added is used by nothing), or until their code is back. So every run must end with the points
of an undisturbed one.
"""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from hlbgpt_core.code_digest import core_digest
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    ROOT,
    Fleet,
    Ground,
    ended_for,
    judged,
    read_ledger,
    scaled,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.faults.sigkill import real_sweep, undisturbed_curves
from tests.faults.worker_under_fault import Faults

EDITS = 24
RUNS, WORKERS = 2, 2
KINDS = ("code", "syntax error", "comment", "editor's files")
EDITED = "hlbgpt_core/training/loss.py"
_SAID = "cannot be imported"


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """On SQLite alone: what is hurt is not the database."""
    began, folder = time.monotonic(), ground.place("code-edited")
    curves = undisturbed_curves(folder, runs=RUNS)
    checkout = folder / "checkout"
    for name in ("hlbgpt_core", "orchestrator", "worker", "tests"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    db, edits = str(folder / "hlbq.db"), scaled(EDITS, scale, least=len(KINDS))
    submit(db, real_sweep(RUNS))
    here = {
        "inside": ("env", "-C", str(checkout)),  # the first place where Python looks for modules
        "environment": {"PYTHONPATH": str(checkout)},
        # A lease that a busy machine does not use up by itself: that would be another fault.
        "faults": Faults(real_trainer=True, timing={"lease_seconds": 20.0, "self_fence_seconds": 15.0}),
    }
    with Fleet(db=db, folder=folder, workers=WORKERS, **here) as fleet, open_store(db, mode=OpenMode.WRITE) as store:  # type: ignore[arg-type]
        editor = _Editor(fleet, store, checkout, random.Random(ground.seed))
        for number in range(edits):
            editor.edit(KINDS[number % len(KINDS)], restart=number % 8 < 4)
        fleet.drain(seconds=300)
        fleet.stop()
        ledger = read_ledger(db, None, curves=curves)
        same = store.same_code()
        broken = [f"run {run.id} is mixed code" for run in store.runs(RunFilter()) if same.are_mixed(run.code)]
        if errors := ended_for(db, Reason.ERROR):
            broken.append(f"{errors} attempts failed")
        counts = {"runs held, declared the same": editor.freed, "runs": ledger.runs}
        fault = "hlbgpt_core edited under workers, real trainer"
        return [judged(fault, "SQLite", ledger, fleet, began, landed=editor.landed, broken=broken, counts=counts)]


class _Editor:
    """Edits one file while runs train, and puts it back."""

    def __init__(self, fleet: Fleet, store: Store, checkout: Path, dice: random.Random) -> None:
        self._fleet, self._store, self._dice = fleet, store, dice
        self._core, self._file = checkout / "hlbgpt_core", checkout / EDITED
        self._text, self._digest = self._file.read_text(encoding="utf-8"), core_digest(self._core)
        self.landed = self.freed = 0

    def edit(self, kind: str, *, restart: bool) -> None:
        """One edit while workers train; `restart` ends them, so that others meet their runs with what is there."""
        self._wait_for_training()
        time.sleep(self._dice.uniform(0, 0.5))
        self.landed += len(self._store.running(RunFilter()))
        self._write(kind)
        if restart:
            self._fleet.stop()
        new = core_digest(self._core)
        if kind == "syntax error":
            before = self._fleet.log().count(_SAID)
            # Runs that begin meet it; those with a checkpoint are held, until their code is back.
            self._wait(lambda: self._fleet.log().count(_SAID) > before or self._holds(new), "a worker meets it")
        elif kind == "code":
            self._wait(lambda: self._store.knows_code(new), "a run is trained or held by the new code")
            self.freed += self._store.declare_same(self._digest, new, why="not used", actor="the suite")
        else:
            self._wait_for_training()
        self._write("")

    def _holds(self, digest: str) -> bool:
        return any(here == digest for _, _, here in self._store.held_runs())

    def _write(self, kind: str) -> None:
        added = {
            "code": f"\n_UNUSED = {self._dice.random()}\n",
            "syntax error": "\ndef broken(:\n",
            "comment": f"\n# {self._dice.random()}\n",
        }
        # As editors do: aside, then renamed; and files of their own beside it.
        aside = self._file.with_suffix(".py~")
        aside.write_text(self._text + added.get(kind, ""), encoding="utf-8")
        aside.replace(self._file)
        link, swap = self._file.parent / ".#loss.py", self._file.parent / ".loss.py.swp"
        if kind == "editor's files":
            link.symlink_to("nobody@nowhere.1234")
            swap.write_bytes(b"\0" * 100)
        else:
            link.unlink(missing_ok=True)
            swap.unlink(missing_ok=True)

    def _wait_for_training(self) -> None:
        self._wait(lambda: any(run.step >= 3 for run in self._store.running(RunFilter())), "a run trains")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            self._fleet.keep_up()
            if self._store.counts(RunFilter())[State.PENDING] < WORKERS:
                self._store.submit(real_sweep(RUNS))
            return condition()

        wait_until(met, seconds=180, what=what)
