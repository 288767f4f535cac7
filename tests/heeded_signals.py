"""Signals that what tests start must heed."""

import signal


def heed_hang_ups() -> None:
    """Let Ctrl-C and hang-ups reach what this process starts: in the background of a script, or under nohup, they are
    ignored, and programs inherit that."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
