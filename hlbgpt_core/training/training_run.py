"""The loop of a run: steps, points, evaluations, limits, directives and checkpoints."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hlbgpt_core.device import memory_in_use_bytes
from hlbgpt_core.errors import DivergedError
from hlbgpt_core.fast_path.compiling import BlockCompiler, microbatches_to_come
from hlbgpt_core.metrics import Moment
from hlbgpt_core.points import (
    BEST_CHECKPOINT,
    Directive,
    Outcome,
    Phase,
    Progress,
    Reporter,
    SavedCheckpoint,
    Split,
    TrainingResult,
)
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.training.checkpoint import Checkpoint, Checkpointing, write_checkpoint
from hlbgpt_core.training.point_builder import PointMaker
from hlbgpt_core.training.training_step import StepRecord, Trainer, unheeded

SIGN_OF_LIFE_SECONDS = 5.0
SPEED_STEPS = 3  # steps at a length before its speed is known


class Interrupted(Exception):
    """The reporter wants the run back. Raised between microbatches; caught by `TrainingRun.run` alone."""

    def __init__(self, directive: Directive) -> None:
        super().__init__(directive)
        self.directive = directive


class TrainingRun:
    """A trainer on its way to a limit.

    A release asked for within a step abandons that step's microbatches: the trainer still stands at the last
    complete step, and the checkpoint is of that. So a resumed run does the whole step again, bit for bit, and
    nobody waits for a long step to end. A checkpoint asked for within a step is made when the step is over.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        reporter: Reporter,
        train_tokens: int,
        tokens_per_byte: Mapping[Split, float],
        checkpointing: Checkpointing | None,
        identity: Mapping[str, Any],
        metrics: Callable[[Moment], Mapping[str, float]],
        compiler: BlockCompiler | None = None,
    ) -> None:
        """`tokens_per_byte` are of the texts that are evaluated. `identity` is what a checkpoint of this run must agree
        with to be taken up; without a `compiler` blocks are run as they are."""
        self.trainer = trainer
        self.identity = identity
        self._settings = trainer.recipe.settings
        self._reporter = reporter
        self._train_tokens = train_tokens
        self._checkpointing = checkpointing
        self._compiler = compiler
        self._points = PointMaker(
            trainer,
            train_tokens=train_tokens,
            tokens_per_byte=tokens_per_byte,
            metrics=metrics,
            compile_seconds=None if compiler is None else lambda: compiler.seconds,
        )
        self._evaluated_step = 0
        self._evaluated_tokens = 0
        self._best_loss: float | None = None
        self._tokens_per_second = 0.0
        self._seconds_a_microbatch: dict[BatchShape, list[float]] = {}
        self._checkpoint_wanted = False
        self._checkpoint_step = 0
        self._checkpoints_missed: set[str] = set()  # of which kinds
        self._checkpointed_at = checkpointing.clock() if checkpointing else 0.0
        trainer.before_batch = lambda number: self._ask(Phase.TRAIN, number)
        trainer.before_evaluation_batch = lambda number: self._ask(Phase.EVALUATE, number)

    def run(self) -> TrainingResult:
        """Train to the first limit, evaluate once more, run the test, and return; or as the reporter directs."""
        try:
            return self._run()
        except Interrupted as interrupted:
            if interrupted.directive is Directive.CANCEL:
                return self._result(Outcome.CANCELLED)
            self._save_checkpoint()
            return self._result(Outcome.RELEASED)
        finally:
            # Trainer and run would hold each other, and so the model's memory, until Python looks for such circles.
            self.trainer.before_batch = self.trainer.before_evaluation_batch = unheeded

    def _run(self) -> TrainingResult:
        if self._compiler is not None:
            with self._signs_of_life():
                self._compiler.warm_up(self.trainer.try_out)
        # Every decision reads only what a checkpoint holds, so a resumed run takes the same ones.
        while True:
            limit = self._limit_reached()
            if self._evaluation_due(final=bool(limit), **self._progress_made()):
                self._evaluate()
            if limit:
                self._test()
                if self._checkpointing is not None and self._checkpointing.keep_last:
                    self._save_checkpoint(is_last=True)
                return self._result(Outcome.FINISHED, stopped_by=limit)
            if self._checkpoint_due():
                self._save_checkpoint()
            self._step()

    def _step(self) -> None:
        number = self.trainer.counters.step + 1
        due = self._point_due(number)
        self._compile_if_it_pays()
        # The plain path is the recipe step by step.
        record = self.trainer.train_step(measure=due, goes_on=self._goes_on if self.trainer.model.fast else None)
        self._note_speed(record)
        finite = all(math.isfinite(microbatch.loss) for microbatch in record.microbatches)
        if due or not finite:
            self._reporter.point(self._points.train(record))
        if not finite:
            raise diverged(record.loss, record.step, "training")

    def _point_due(self, step: int) -> bool:
        return step == 1 or step % self._settings.log_every == 0

    def _goes_on(self, step: int, tokens_seen: int) -> bool:
        """Whether, after `step` steps, the next follows at once and leaves no point: then it may begin early."""
        if self._point_due(step + 1) or self._checkpoint_wanted:
            return False
        used_up = max(self._shares(step=step, tokens_seen=tokens_seen).values()) >= 1
        return not used_up and not self._evaluation_due(step=step, tokens_seen=tokens_seen)

    def _note_speed(self, record: StepRecord) -> None:
        """Keep how long the microbatches of the last steps took, by shape."""
        tokens = sum(microbatch.shape.tokens for microbatch in record.microbatches)
        self._tokens_per_second = tokens / record.seconds if record.seconds > 0 else 0.0
        noted = self._seconds_a_microbatch.setdefault(record.microbatches[-1].shape, [])
        noted.append(record.seconds / len(record.microbatches))
        del noted[:-SPEED_STEPS]

    def _compile_if_it_pays(self) -> None:
        """Compile the blocks for the shape to come, or leave it; see compiling.py. No training time."""
        if self._compiler is None:
            return
        counters = self.trainer.counters
        noted = self._seconds_a_microbatch.get(counters.shape, [])
        to_come = microbatches_to_come(
            self._settings,
            shape=counters.shape,
            step=counters.step,
            tokens_seen=counters.tokens_seen,
            train_tokens=self._train_tokens,
            divisor=counters.accumulation.divisor,
        )
        seconds = min(noted) if len(noted) >= SPEED_STEPS else None
        if self._compiler.pays(counters.shape, microbatches_to_come=to_come, seconds_a_microbatch=seconds):
            self._ask(Phase.COMPILE, 0)
            with self._signs_of_life():
                self._compiler.compile(counters.shape, self.trainer.try_out)

    def _evaluate(self) -> None:
        counters = self.trainer.counters
        evaluation = self.trainer.evaluate()
        self._reporter.point(self._points.evaluated(Split.VAL, evaluation))
        self._evaluated_step, self._evaluated_tokens = counters.step, counters.tokens_seen
        if not math.isfinite(evaluation.loss):
            raise diverged(evaluation.loss, counters.step, "validation")
        if self._checkpointing is not None and self._checkpointing.keep_best:
            self._keep_if_best(self._checkpointing, evaluation.loss)

    def _test(self) -> None:
        """Evaluate on the test text, if that is wanted. A run that is stopped within it, and one that is resumed after
        it, does it again: the point is the same one."""
        if not self._settings.test_tokens:
            return
        evaluation = self.trainer.evaluate(Split.TEST)
        self._reporter.point(self._points.evaluated(Split.TEST, evaluation))
        if not math.isfinite(evaluation.loss):
            raise diverged(evaluation.loss, self.trainer.counters.step, "test")

    def _evaluation_due(self, *, step: int, tokens_seen: int, final: bool = False) -> bool:
        if step == self._evaluated_step:
            return False
        epochs = (tokens_seen - self._evaluated_tokens) / self._train_tokens
        settings = self._settings
        return final or step % settings.eval_every == 0 or epochs >= settings.max_epochs_between_evals

    def _progress_made(self) -> dict[str, int]:
        return {"step": self.trainer.counters.step, "tokens_seen": self.trainer.counters.tokens_seen}

    def _shares(self, *, step: int, tokens_seen: int) -> dict[str, float]:
        """How much of each limit is used up after so many steps and tokens, by the name of its setting."""
        settings = self._settings
        return {
            "max_steps": step / settings.max_steps,
            "max_epochs": tokens_seen / self._train_tokens / settings.max_epochs,
            "max_tokens": tokens_seen / settings.max_tokens,
            "max_time_seconds": self.trainer.counters.training_seconds / settings.max_time_seconds,
        }

    def _limit_reached(self) -> str:
        """The setting whose limit is reached, or nothing."""
        return next((name for name, share in self._shares(**self._progress_made()).items() if share >= 1), "")

    def _ask(self, phase: Phase, microbatch: int) -> None:
        """Report progress; raises Interrupted where the reporter wants the run back."""
        directive = self._tell(phase, microbatch)
        if directive in (Directive.RELEASE, Directive.CANCEL):
            raise Interrupted(directive)

    def _tell(self, phase: Phase, microbatch: int) -> Directive:
        """Report progress; what is wanted of the run. A checkpoint is noted here."""
        counters = self.trainer.counters
        directive = self._reporter.progress(
            Progress(
                phase=phase,
                step=counters.step,
                microbatch=microbatch,
                tokens_seen=counters.tokens_seen,
                tokens_per_second=self._tokens_per_second,
                fraction=min(max(self._shares(**self._progress_made()).values()), 1.0),
                memory_bytes=memory_in_use_bytes(self.trainer.device),
            )
        )
        if directive is Directive.CHECKPOINT:
            self._checkpoint_wanted = True
        return directive

    @contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        """Report progress every few seconds while the compiler is at work. A release waits until it is done."""
        over = threading.Event()

        def report() -> None:
            while not over.wait(SIGN_OF_LIFE_SECONDS):
                self._tell(Phase.COMPILE, 0)

        thread = threading.Thread(target=report, name="signs-of-life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _checkpoint_due(self) -> bool:
        if self._checkpointing is None:
            return False
        waited = self._checkpointing.clock() - self._checkpointed_at
        return self._checkpoint_wanted or waited >= self._checkpointing.every_seconds

    def _save_checkpoint(self, *, is_last: bool = False) -> None:
        """Write and report a checkpoint of the last complete step, unless there is one or nothing to keep."""
        step = self.trainer.counters.step
        if self._checkpointing is None or step == self._checkpoint_step:
            return
        self._checkpoint_wanted = False
        self._checkpointed_at = self._checkpointing.clock()
        saved = self._write(self._checkpointing, self._checkpoint(), is_last=is_last)
        if saved is not None:
            self._checkpoint_step = step
            self._reporter.checkpoint(saved)

    def _keep_if_best(self, checkpointing: Checkpointing, loss: float) -> None:
        """Keep the parameters of this moment where `loss`, an evaluation's, is below those of all before it."""
        if self._best_loss is not None and loss >= self._best_loss:
            return
        checkpoint = replace(self._checkpoint(), state={"val_loss": loss}, optimizer={})
        if self._write(checkpointing, checkpoint, name=BEST_CHECKPOINT) is not None:
            self._best_loss = loss

    def _write(
        self, checkpointing: Checkpointing, checkpoint: Checkpoint, *, name: str = "", is_last: bool = False
    ) -> SavedCheckpoint | None:
        """Write a checkpoint. A disk that refuses is no reason to lose the run: people hear of it, once a kind."""
        try:
            return write_checkpoint(checkpointing, checkpoint, name=name)
        except OSError as error:
            kind = "the last model" if is_last else "the best model so far" if name else ""
            if kind not in self._checkpoints_missed:
                folder, step = checkpointing.state_folder, checkpoint.step
                told = f"no checkpoint at step {step}: '{folder}' cannot be written ({error.strerror or error}). "
                goes_on = "The run goes on; free some space there, or a stop loses what was trained since the last one."
                self._reporter.note("no checkpoint", told + (f"So {kind} is not kept." if kind else goes_on))
            self._checkpoints_missed.add(kind)
            return None

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self.trainer.counters.step,
            identity=self.identity,
            state={
                "trainer": self.trainer.state(),
                "evaluated_step": self._evaluated_step,
                "evaluated_tokens": self._evaluated_tokens,
                "best_loss": self._best_loss,
            },
            parameters=self.trainer.parameter_tensors(),
            optimizer=self.trainer.optimizer_tensors(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`. Raises CheckpointError where it is not of this model; then start anew."""
        self.trainer.restore(checkpoint.state["trainer"], checkpoint.parameters, checkpoint.optimizer)
        self._evaluated_step = checkpoint.state["evaluated_step"]
        self._evaluated_tokens = checkpoint.state["evaluated_tokens"]
        self._best_loss = checkpoint.state.get("best_loss")
        self._checkpoint_step = checkpoint.step

    def _result(self, outcome: Outcome, *, stopped_by: str = "") -> TrainingResult:
        counters = self.trainer.counters
        return TrainingResult(
            outcome=outcome,
            steps=counters.step,
            tokens_seen=counters.tokens_seen,
            training_seconds=counters.training_seconds,
            stopped_by=stopped_by,
        )


def diverged(loss: float, step: int, which: str) -> DivergedError:
    """The error of a loss that is not finite."""
    return DivergedError(
        f"the {which} loss is {loss} at step {step}",
        "Lower the learning rate (--lr_mult, or --learning_rate for recipe 0.3.0), or try another seed.",
    )
