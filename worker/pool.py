"""Several workers of one machine under one parent: one per GPU, or several slots on one device.

The parent trains nothing and holds no connection to the database. It passes signals on, restarts workers that died, and
ends when all have ended. If the parent itself is killed, the kernel sends its workers a SIGTERM: they release their
runs with a checkpoint and end, so none goes on unseen.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.launch.stop_signals import handled, heeded_stop_signals, interrupts_withheld, signal_name
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.workers import ArmMemory
from orchestrator.store import OpenMode, open_store
from orchestrator.wording.numbers import counted
from worker.devices.devices import Device, choose_device, choose_gpus, gpu_device
from worker.devices.slot_memory import free_bytes_of, plan_slots
from worker.exit_codes import EXIT_FAILED, EXIT_FINE, EXIT_INTERRUPTED, EXIT_USAGE

# A worker that leaves with one of these said why; whatever else ends a worker is a death, and it is started anew.
_SAID_WHY = frozenset({EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED})


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one worker of the pool works: its name for people, and the command that starts it."""

    name: str
    argv: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """When a worker that died is started anew.

    Waits double from `first_wait_seconds` to `longest_wait_seconds`. After `most_restarts` in a row the place is
    given up; a worker that lived for `healthy_seconds` begins a new row.
    """

    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    most_restarts: int = 5
    healthy_seconds: float = 300.0

    def wait_seconds(self, deaths: int) -> float | None:
        """How long to wait after this many deaths in a row; None: not started any more."""
        if deaths > self.most_restarts:
            return None
        return min(self.first_wait_seconds * 2.0 ** (deaths - 1), self.longest_wait_seconds)


@dataclass(kw_only=True)
class _Member:
    """A place with its worker. `exit_code` is set once the place is done with."""

    place: Place
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float | None = None
    exit_code: int | None = None


@dataclass(kw_only=True)
class WorkerPool:
    """Runs workers in their places until all have ended. `run()` does it all."""

    places: Sequence[Place]
    say: Callable[[str], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    _stop_signal: int = 0  # the first one that asked to stop
    _members: list[_Member] = field(default_factory=list)

    def run(self) -> int:
        """Start all workers and wait for them; returns the exit code of the whole (see `exit_code_of`)."""
        self._members = [_Member(place=place) for place in self.places]
        with self._signals() as woken:
            for member in self._members:
                self._start(member)
            while any(member.exit_code is None for member in self._members):
                self._wait(woken)
        code = exit_code_of([member.exit_code or 0 for member in self._members], interrupted=bool(self._stop_signal))
        self.say(f"{counted(len(self._members), 'worker')} ended")
        return code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Handle signals for the block; yields a descriptor that is readable once one came, a child's end among them.

        There is no thread here on purpose: the kernel sends the workers their SIGTERM for each thread of a killed
        parent, and the second would have them stop at once.
        """
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        passed_on = (*heeded_stop_signals(), signal.SIGUSR1)
        with contextlib.ExitStack() as held:
            held.callback(os.close, read)
            held.callback(os.close, write)
            held.enter_context(handled(passed_on, self._pass_on))
            held.enter_context(handled((signal.SIGCHLD,), lambda number: None))
            held.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
            yield read

    def _pass_on(self, number: int) -> None:
        """Pass a signal on to every worker; from the first on nobody is started any more."""
        self._stop_signal = self._stop_signal or number
        for member in self._members:
            if member.process is not None:
                member.process.send_signal(number)

    def _start(self, member: _Member) -> None:
        member.restart_at, member.started_at = None, time.monotonic()
        # A group of its own: a terminal's Ctrl-C reaches it through this process alone, and so counts once.
        with interrupts_withheld():
            member.process = subprocess.Popen(
                member.place.argv, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, process_group=0
            )
        if self._stop_signal:  # it came while the worker was being started, and did not reach it
            member.process.send_signal(self._stop_signal)

    def _wait(self, woken: int) -> None:
        """Until a worker ends, a signal comes, or a restart is due; then do what follows from it."""
        due = [member.restart_at for member in self._members if member.restart_at is not None]
        select.select([woken], [], [], max(0.0, min(due) - time.monotonic()) if due else None)
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)
        for member in self._members:
            if member.process is not None and member.process.poll() is not None:
                self._note_end(member, member.process.returncode)
            if member.restart_at is None:
                continue
            if self._stop_signal:
                member.restart_at, member.exit_code = None, EXIT_INTERRUPTED
            elif member.restart_at <= time.monotonic():
                self._start(member)

    def _note_end(self, member: _Member, code: int) -> None:
        member.process = None
        if code in _SAID_WHY or self._stop_signal:
            member.exit_code = code if code in _SAID_WHY else EXIT_FAILED
            return
        lived = time.monotonic() - member.started_at
        member.deaths = 1 if lived >= self.policy.healthy_seconds else member.deaths + 1
        wait = self.policy.wait_seconds(member.deaths)
        name, how = member.place.name, f"exit code {code}" if code >= 0 else signal_name(-code)
        if wait is None:
            member.exit_code = EXIT_FAILED
            self.say(
                f"the worker on {name} died {member.deaths} times in a row (now {how}) and will not be restarted; "
                "see what it printed above, and `hlbq doctor`"
            )
            return
        member.restart_at = time.monotonic() + wait
        self.say(f"the worker on {name} died ({how}); restarting it in {wait:g} s")


def exit_code_of(codes: Sequence[int], *, interrupted: bool) -> int:
    """The exit code of a pool: 130 after a signal, else the worst of its workers' (2: it could not work, 1: failed)."""
    if interrupted:
        return EXIT_INTERRUPTED
    return next((code for code in (EXIT_INTERRUPTED, EXIT_USAGE, EXIT_FAILED) if code in codes), EXIT_FINE)


def plan_places(options: WorkerOptions, say: Callable[[str], None]) -> list[Place]:
    """A place for each slot of each device, fewer slots where the memory does not hold them; says so.

    Raises DeviceError for a device that is not there, and DatabaseError where the queue can't be read.
    """
    if any(options.gpus):
        devices = [gpu_device(gpu) for gpu in choose_gpus(options.gpus)]
    else:
        devices = [choose_device(options.gpu, options.device)]
    plans = [plan_slots(options.slots, arms, free, device) for device, arms, free in _facts(options, devices)]
    for note in filter(None, (note for _, note in plans)):
        say(note)
    places = [
        Place(name=_name(device, slot, slots), argv=_options_of(options, device, slot, slots).argv())
        for device, (slots, _) in zip(devices, plans, strict=True)
        for slot in range(slots)
    ]
    say(f"{counted(len(places), 'worker')}: {', '.join(place.name for place in places)}")
    return places


def _facts(
    options: WorkerOptions, devices: Sequence[Device]
) -> Iterator[tuple[Device, Sequence[ArmMemory], int | None]]:
    """Each device with the arms that wait and its free memory; neither is looked up for a single slot."""
    if options.slots == 1 or options.no_memory_check:
        yield from ((device, (), None) for device in devices)
        return
    with open_store(options.db, mode=OpenMode.WRITE) as store:
        for device in devices:
            arms = store.memory_of_waiting_arms(device.description, options.sweep)
            yield device, arms, free_bytes_of(device)


def _options_of(options: WorkerOptions, device: Device, slot: int, slots: int) -> WorkerOptions:
    """What one worker is asked to do. The database comes by the environment, the sweep of `hlbq run` is known."""
    return replace(
        options,
        gpu=device.gpu,
        gpus=(),
        device="cpu" if device.gpu is None else None,
        slot=slot,
        slots=slots,
        label=f"{_name(device, slot, slots)}: ",
        prestarted=False,
        db=None,
    ).ending_with_this_process()


def _name(device: Device, slot: int, slots: int) -> str:
    return device.name if slots == 1 else f"{device.name} slot {slot + 1} of {slots}"
