"""A stand-in for the trainer process: it speaks the real messages, writes real checkpoint folders, and needs no torch.

Its curve is a pure function of seed and step, so that a test can say what every point of a run must be. What it does
beyond that is told by $STAND_IN, a JSON object (see `Plan`).
"""

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from hlbgpt_core.code_digest import core_digest
from hlbgpt_core.points import Directive, Facts, Phase, Point, Progress, SavedCheckpoint, Split
from worker.processes import die_with_parent, leave_signals_to_the_supervisor
from worker.trainer.messages import (
    CheckpointMade,
    Direct,
    Ended,
    FactsFound,
    LoadFailed,
    Message,
    Pause,
    PointMade,
    ProgressMade,
    Ready,
    Resume,
    Resumed,
    ShutDown,
    Start,
    decode,
    encode,
)

RUNG_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long the runs are, and what goes wrong. `on_seed` names a behaviour by seed; `load_blame` says who is to
    blame that its code does not load (`exit`: it leaves without a word; `killed`: by SIGKILL); `kill` gives the
    probability of a SIGKILL at a named point (step, before_rename, after_rename), noted in the file `landed`. Runs hold
    after step `hold_after` until the file `go` is there, so that a test needs no luck to find them training. `shifts`
    are what arms add to the loss, by lr_mult, besides noise of their own; on a `bowl` every arm adds what its lr_mult
    is off. Runs are evaluated every `evaluate_every` steps (0: at the end alone), and wait for a word after the
    rungs."""

    steps: int = 20
    step_seconds: float = 0.0
    checkpoint_every: int = 5
    on_seed: dict[str, str] = field(default_factory=dict)
    load_blame: str = ""
    kill: dict[str, float] = field(default_factory=dict)
    landed: str = ""
    hold_after: int = 0
    go: str = ""
    shifts: dict[str, float] = field(default_factory=dict)
    bowl: bool = False
    evaluate_every: int = 0


def loss_at(seed: int, step: int) -> float:
    """The loss that run `seed` has at `step`, in every attempt."""
    return 5.0 * math.exp(-step / 50) + 0.1 * _uniform(seed, step)


def shift_of(plan: Plan, lr_mult: float, seed: int) -> float:
    """What the arm of this lr_mult adds to the loss of run `seed`: 0 unless the plan shifts it."""
    shift = math.log(lr_mult) ** 2 if plan.bowl else plan.shifts.get(str(lr_mult))
    return 0.0 if shift is None else shift + 0.1 * _uniform(seed, lr_mult)


def _uniform(*words: float) -> float:
    """A number from 0 to 1 that these words fix."""
    return int(hashlib.sha256(" ".join(map(str, words)).encode()).hexdigest()[:8], 16) / 2**32


def point_at(seed: int, step: int, split: Split = Split.TRAIN, *, shift: float = 0.0) -> Point:
    """The point of run `seed` at `step`, its loss shifted by that of its arm."""
    loss = loss_at(seed, step) + shift
    return Point(
        split=split,
        step=step,
        loss=loss,
        acc=0.5,
        pplx=math.exp(loss),
        cumulative_time=float(step),
        tokens_seen=100 * step,
        epoch=step / 1000,
        batch_size=10,
        seq_length=10,
        lr=1e-3,
        weight_decay=0.1,
        grad_norm=1.0 if split is Split.TRAIN else None,
    )


class Trainer:
    """Serves one supervisor, as worker/trainer_process.py does."""

    def __init__(self, read_fd: int, write_fd: int, plan: Plan) -> None:
        self._down, self._up = os.fdopen(read_fd, "rb"), os.fdopen(write_fd, "wb", buffering=0)
        self._plan, self._random = plan, random.Random(os.urandom(8))
        self._condition = threading.Condition()
        self._starts: list[Start | None] = []
        self._paused, self._directive, self._told = False, Directive.CONTINUE, False
        threading.Thread(target=self._listen, daemon=True).start()

    def serve(self) -> None:
        """Train what comes until told to shut down."""
        if self._plan.load_blame == "exit":
            os._exit(127)
        if self._plan.load_blame == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._plan.load_blame:
            self._send(
                LoadFailed(
                    pid=os.getpid(),
                    blame=self._plan.load_blame,
                    error_type="SyntaxError",
                    error_message="recipe.py:7: invalid syntax",
                    error_traceback="",
                )
            )
            return
        self._send(Ready(pid=os.getpid(), core_digest=core_digest()))
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._starts)
                start = self._starts.pop(0)
            if start is None:
                return
            self._train(start)

    def _train(self, start: Start) -> None:
        lease = {"run_id": start.run_id, "fence": start.fence}
        behaviour = self._plan.on_seed.get(str(start.seed), "")
        step, shift = self._resume(start), shift_of(self._plan, start.settings["lr_mult"], start.seed)
        self._send(FactsFound(**lease, facts=_facts()))
        rungs = list(start.rungs)
        while step < self._plan.steps:
            directive = self._wanted()
            if directive is Directive.CANCEL:
                self._send(Ended(**lease, reason="cancelled"))
                return
            if directive is Directive.RELEASE and behaviour != "deaf":
                self._save(start, step)
                self._send(Ended(**lease, reason="released"))
                return
            if self._holds(step):
                continue
            step += 1
            time.sleep(self._plan.step_seconds)
            self._send(ProgressMade(**lease, progress=Progress(phase=Phase.TRAIN, step=step, tokens_per_second=1e3)))
            self._send(PointMade(**lease, point=point_at(start.seed, step, shift=shift)))
            self._perhaps_die("step")
            if self._plan.evaluate_every and step % self._plan.evaluate_every == 0 and step < self._plan.steps:
                self._evaluate(start, step, shift, rungs)
            if step == self._plan.steps // 2 and self._misbehave(behaviour, lease):
                return
            if step % self._plan.checkpoint_every == 0:
                self._save(start, step)
        self._send(PointMade(**lease, point=point_at(start.seed, step, Split.VAL, shift=shift)))
        self._send(Ended(**lease, reason="finished"))

    def _evaluate(self, start: Start, step: int, shift: float, rungs: list[int]) -> None:
        """Tell a val point; past a rung, wait for the next word on the run."""
        point = point_at(start.seed, step, Split.VAL, shift=shift)
        with self._condition:
            self._told = False
        self._send(PointMade(run_id=start.run_id, fence=start.fence, point=point))
        if rungs and point.tokens_seen >= rungs[0]:
            del rungs[: sum(rung <= point.tokens_seen for rung in rungs)]
            with self._condition:
                self._condition.wait_for(lambda: self._told, RUNG_SECONDS)

    def _holds(self, step: int) -> bool:
        """Whether the run waits at this step for the file `go`; then a moment has passed."""
        holds = bool(self._plan.go) and step >= self._plan.hold_after and not Path(self._plan.go).exists()
        if holds:
            time.sleep(0.02)
        return holds

    def _misbehave(self, behaviour: str, lease: dict[str, int]) -> bool:
        if behaviour in ("error", "oom", "diverged"):
            self._send(Ended(**lease, reason=behaviour, error_type="MadeUp", error_message=f"a made-up {behaviour}"))
            return True
        if behaviour == "host":
            blamed = {"reason": "released", "blame": "host", "error_type": "HostDataError"}
            self._send(Ended(**lease, **blamed, error_message="the disk is full"))
            return True
        if behaviour == "hang":
            threading.Event().wait()
        if behaviour.startswith("exit "):
            print("last words", flush=True)
            os._exit(int(behaviour.split()[1]))
        if behaviour == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if behaviour == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def _resume(self, start: Start) -> int:
        for checkpoint in start.resume:
            try:
                content = (Path(start.state_folder) / checkpoint.path / "state.json").read_bytes()
            except OSError:
                continue
            if hashlib.sha256(content).hexdigest() == checkpoint.sha256:
                self._send(Resumed(run_id=start.run_id, fence=start.fence, checkpoint=checkpoint))
                return int(json.loads(content)["step"])
        if start.resume:
            self._send(Resumed(run_id=start.run_id, fence=start.fence, checkpoint=None))
        return 0

    def _save(self, start: Start, step: int) -> None:
        relative = f"checkpoints/{start.uid}/{start.fence}-{step}"
        folder = Path(start.state_folder) / relative
        content = json.dumps({"step": step, "filler": "x" * 1000}).encode()
        aside = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "state.json").write_bytes(content)
        self._perhaps_die("before_rename")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        self._perhaps_die("after_rename")
        saved = SavedCheckpoint(path=relative, sha256=hashlib.sha256(content).hexdigest(), step=step)
        self._send(CheckpointMade(run_id=start.run_id, fence=start.fence, checkpoint=saved))

    def _perhaps_die(self, where: str) -> None:
        if self._random.random() < self._plan.kill.get(where, 0.0):
            if self._plan.landed:
                with open(self._plan.landed, "a", encoding="utf-8") as notes:  # noqa: PTH123
                    notes.write(f"{time.time():.3f} {os.getpid()} {where}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def _wanted(self) -> Directive:
        with self._condition:
            self._condition.wait_for(lambda: not self._paused or self._directive is not Directive.CONTINUE)
            return self._directive

    def _listen(self) -> None:
        for line in self._down:
            message = decode(line)
            with self._condition:
                match message:
                    case Start():
                        self._starts.append(message)
                        self._directive = Directive.CONTINUE
                    case Direct(directive=directive):
                        self._told = True
                        if directive is not Directive.CONTINUE:
                            self._directive = directive
                    case Pause() | Resume():
                        self._paused = isinstance(message, Pause)
                    case ShutDown():
                        self._starts.append(None)
                self._condition.notify_all()
        os._exit(1)

    def _send(self, message: Message) -> None:
        self._up.write(encode(message))


def _facts() -> Facts:
    return Facts(
        data_fingerprint="stand-in",
        train_tokens=100_000,
        val_tokens=1_000,
        val_bytes=1_000,
        device="cpu",
        device_name="stand-in",
        precision="float32",
        path="plain",
        threads=1,
        deterministic=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--read-fd", type=int, required=True)
    parser.add_argument("--write-fd", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent_pid)
    leave_signals_to_the_supervisor()
    Trainer(options.read_fd, options.write_fd, Plan(**json.loads(os.environ.get("STAND_IN", "{}")))).serve()


def command() -> tuple[str, ...]:
    """The command that starts this stand-in; the pipes' options are added by whoever does."""
    return (sys.executable, "-m", "tests.stand_in_trainer")


if __name__ == "__main__":
    main()
