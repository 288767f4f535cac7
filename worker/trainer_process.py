"""The process that owns the device: `python -P -m worker.trainer --read-fd N --write-fd M`.

It uses the messages of worker/trainer/messages.py over two inherited pipes, and keeps torch, the compiled code and the
data warm from run to run. Nothing here waits for the database: points go through a queue to a thread that writes the
pipe. When the supervisor dies, so does this process: by the kernel's parent-death signal, or at the pipe's end.
"""

import contextlib
import gc
import math
import os
import queue
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hlbgpt_core.code_digest import CoreCode
from hlbgpt_core.code_version import core_version
from hlbgpt_core.errors import DataError, DeviceError, DivergedError, HostDataError, OutOfMemoryError, SettingsError
from hlbgpt_core.points import Directive, Phase, Progress, TrainingResult
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import CacheWatch, TokenData, load_data
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.states import Reason
from worker.trainer.blame import Blame, blame_of, load_failure
from worker.trainer.messages import Direct, Ended, LoadFailed, Pause, Ready, Resume, ShutDown, Start, decode
from worker.trainer.pipe_reporter import Control, Outbox, PipeReporter
from worker.trainer.run_log import log_to

if TYPE_CHECKING:
    from hlbgpt_core.fast_path.process_cache import ProcessCache

_PATHS = {None: None, True: "fast", False: "plain"}


class Abandoned(Exception):
    """The supervisor took the run back while its data was being made ready."""

    def __init__(self, directive: Directive) -> None:
        super().__init__(directive)
        self.reason = Reason.CANCELLED if directive is Directive.CANCEL else Reason.RELEASED


class WarmData:
    """The last dataset opened, kept for the next run of the same text and tokenizer, and what the device keeps."""

    def __init__(self) -> None:
        self._device: ProcessCache | None = None
        self._name: tuple[str, str, bool] | None = None
        self._data: TokenData | None = None
        self._watch = CacheWatch()

    def begin_check(self, settings: Mapping[str, Any]) -> None:
        """Begin to read the cache of the first run, while torch is still being loaded; returns at once."""
        names = (str(settings.get("dataset")), str(settings.get("tokenizer")))
        threading.Thread(target=self._watch.begin, args=names, name="cache-check", daemon=True).start()

    def get(self, settings: Settings, reporter: PipeReporter) -> TokenData:
        """The settings' data; a `text:` source is opened anew each time, since its files may have changed."""
        # Without a test text runs need none: a hub's is asked for only where it is wanted.
        name = (settings.dataset, settings.tokenizer, bool(settings.test_tokens))
        if self._data is None or name != self._name or settings.dataset.startswith("text:"):

            def on_progress(what: str, fraction: float) -> None:
                directive = reporter.progress(Progress(phase=Phase.DATA))
                if directive in (Directive.RELEASE, Directive.CANCEL):
                    raise Abandoned(directive)

            watch = replace(self._watch, on_damage=lambda text: reporter.note("cache damaged", text))
            self._data = load_data(*name[:2], on_progress=on_progress, with_test=name[2], watch=watch)
            self._name = name
        return self._data

    @property
    def device(self) -> "ProcessCache":
        """What stays on the device and compiled. Made at the first run, once torch is loaded."""
        from hlbgpt_core.fast_path.compiling import CompiledCode, share_compiled_code
        from hlbgpt_core.fast_path.process_cache import ProcessCache
        from hlbgpt_core.text.token_cache import default_cache_dir

        if self._device is None:
            folder = default_cache_dir() / "compiled"
            share_compiled_code(folder)
            self._device = ProcessCache(CompiledCode(folder))
        return self._device

    def measure_anew(self) -> None:
        """Have the peak of memory be that of the run to come: the kernel and torch count for the whole process, and
        torch keeps what a larger run before it took."""
        if self._device is None:
            return  # it is the first
        import torch

        with contextlib.suppress(OSError):  # Linux alone can forget the peak of a process
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            self._device.give_memory_back()
            torch.cuda.reset_peak_memory_stats()

    def give_memory_back(self) -> None:
        """Leave the device's memory to others but for what is in use: tokens stay, torch's pool of free blocks goes."""
        if self._device is not None:
            self._device.give_memory_back()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What stays the same for all runs of this process: of `options`, those that a trainer process takes."""

    device: str
    core_digest: str
    options: WorkerOptions = field(default_factory=WorkerOptions)


def train_run(start: Start, reporter: PipeReporter, data: WarmData, around: Surroundings) -> TrainingResult:
    """Train one run to its end. Raises what the trainer and the data raise."""
    # Imported before the first run by `serve`; here so that a stand-in for tests needs no torch.
    from hlbgpt_core.training.trainer import Checkpointing, train

    settings = Settings.from_dict(start.settings)
    reporter.progress(Progress(phase=Phase.DATA))
    return train(
        settings,
        data.get(settings, reporter),
        seed=start.seed,
        device=around.device,
        reporter=reporter,
        checkpointing=Checkpointing(
            state_folder=Path(start.state_folder),
            uid=start.uid,
            fence=start.fence,
            every_seconds=start.checkpoint_every_seconds or math.inf,  # 0: none but the one at a stop
            keep_last=start.keep_checkpoints,
            keep_best=start.keep_best,
        ),
        resume=start.resume,
        fixed=start.fixed_facts or None,
        deterministic=around.options.deterministic,
        path=_PATHS[around.options.fast],
        compile_mode=around.options.compile_mode,
        warm=data.device,
    )


def ended(start: Start, reason: Reason, error: BaseException | None = None) -> Ended:
    """The last message of a run."""
    if error is None:
        return Ended(run_id=start.run_id, fence=start.fence, reason=reason)
    blame = Blame.RUN if reason is not Reason.ERROR else whose_fault(error)
    return Ended(
        run_id=start.run_id,
        fence=start.fence,
        reason=reason if blame is Blame.RUN else Reason.RELEASED,
        error_type=type(error).__name__,
        error_message=str(error),
        error_traceback="".join(traceback.format_exception(error)),
        permanent=isinstance(error, DataError | SettingsError),
        blame=blame,
    )


def whose_fault(error: BaseException) -> Blame:
    """Whether the run, the host or a core that cannot be imported is to blame for an error."""
    return Blame.HOST if isinstance(error, HostDataError | DeviceError) else blame_of(error)


def reason_of(error: BaseException) -> Reason:
    """The reason that an exception stands for."""
    if isinstance(error, OutOfMemoryError | MemoryError):
        return Reason.OOM
    return Reason.DIVERGED if isinstance(error, DivergedError) else Reason.ERROR


def attend(start: Start, outbox: Outbox, control: Control, data: WarmData, around: Surroundings) -> None:
    """Train one run and report its end, whatever it is."""
    log_to(Path(start.log_path))
    reporter = PipeReporter(start, outbox, control, {"core_digest": around.core_digest})
    try:
        data.measure_anew()
        result = train_run(start, reporter, data, around)
        last = ended(start, Reason(result.outcome))
    except Abandoned as abandoned:
        last = ended(start, abandoned.reason)
    # Whatever a user's model raises ends this run and not the worker: it is stored with the run.
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        last = ended(start, reason_of(error), error)
    # Outside the handlers, so that no traceback holds the run's tensors; and before the end is told: from then on a
    # neighbour may begin a run that is to have the device to itself.
    if around.options.slots > 1 or last.reason is Reason.OOM:
        data.give_memory_back()
    outbox.put(last)


def read_messages(pipe: BinaryIO, control: Control, starts: "queue.SimpleQueue[Start | None]", data: WarmData) -> None:
    """Take the supervisor's messages until its end of the pipe closes, which ends this process at once."""
    is_first = True
    for line in pipe:
        match decode(line):
            case Start() as start:
                # Here and not where the run begins: a wish may come while torch is still being loaded.
                control.begin(start.run_id, start.fence)
                starts.put(start)
                if is_first:
                    data.begin_check(start.settings)
                is_first = False
            case Direct() as direct:
                control.direct(direct)
            case Pause() | Resume() as message:
                control.pause(isinstance(message, Pause))
            case ShutDown():
                starts.put(None)
                return
    os._exit(1)


def serve(read_fd: int, write_fd: int, device: str, words: Sequence[str]) -> int:
    """Serve one supervisor over the two pipes until it says to shut down; `words` are a trainer's options."""
    options = WorkerOptions.from_words(words, for_trainer=True)
    control = Control()
    starts: queue.SimpleQueue[Start | None] = queue.SimpleQueue()
    outbox, data = Outbox(os.fdopen(write_fd, "wb")), WarmData()
    reader = threading.Thread(
        target=read_messages, args=(os.fdopen(read_fd, "rb"), control, starts, data), name="inbox", daemon=True
    )
    reader.start()
    # Read before the import: code that changes in between is then taken for changed, never for loaded.
    core = CoreCode()
    sources = core.sources()
    failure = load_trainer()
    if failure is not None:
        outbox.put(LoadFailed(pid=os.getpid(), **load_failure(failure)))
        outbox.close()
        return 1
    digest = core.digest_of(sources)
    outbox.put(Ready(pid=os.getpid(), core_digest=digest))
    around = Surroundings(device=device, core_digest=digest, options=options)
    while (start := starts.get()) is not None:
        attend(start, outbox, control, data, around)
    outbox.close()
    return 0


def load_trainer() -> Exception | None:
    """Load torch and the core, while the supervisor registers and claims; returns what went wrong."""
    # Asked of git by processes of its own, which another thread can wait for.
    threading.Thread(target=core_version, name="core-version", daemon=True).start()
    gc.disable()  # imports make many objects and no garbage
    try:
        import hlbgpt_core.training.trainer  # noqa: F401
        from hlbgpt_core.training.lazy_compiler import leave_the_compiler_out

        leave_the_compiler_out()
    except Exception as error:
        return error
    finally:
        gc.freeze()
        gc.enable()
    return None
