"""The signals that ask workers to stop, for all that pass them on or obey them; and how signals are called."""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence

# Ctrl-C, a service manager, a terminal or connection that closes, Ctrl-\.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def heeded_stop_signals() -> Sequence[signal.Signals]:
    """Those that this process is to obey: all but a SIGHUP that was ignored when it started, as nohup has it."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (nohup and number is signal.SIGHUP)]


@contextlib.contextmanager
def handled(numbers: Iterable[int], handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each of these signals that comes during the block.

    A signal that `handle` came to ignore stays ignored: a late one is not to end a process that is on its way out.
    """
    before = {number: signal.signal(number, lambda number, frame: handle(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


@contextlib.contextmanager
def interrupts_withheld() -> Iterator[None]:
    """Start a worker within this block: a Ctrl-C waits until its `heed_interrupts`, and does not break its imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_interrupts() -> None:
    """For a worker that can be interrupted: take what came while it was starting."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def signal_name(number: int) -> str:
    """`SIGKILL` and its like; `signal 77` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ignore_late_signals() -> None:
    """For a process that is done: while the interpreter ends, it gives signals back to the kernel, and another hang-up
    would take its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
