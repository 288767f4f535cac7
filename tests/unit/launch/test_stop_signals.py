"""A block that handles stop signals, and what becomes of those that come late."""

import signal

from orchestrator.launch.stop_signals import handled


def test_a_block_handles_what_comes_and_then_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    came: list[int] = []
    with handled((signal.SIGUSR2,), came.append):
        signal.raise_signal(signal.SIGUSR2)
    assert came == [signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR2) is before


def test_a_signal_that_the_block_came_to_ignore_stays_ignored() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with handled((signal.SIGUSR2,), lambda number: signal.signal(number, signal.SIG_IGN) and None):
            signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR2)  # by default it would end this process
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR2, before)
