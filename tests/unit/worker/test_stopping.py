"""Which signals ask a worker to stop, and which of them have it hurry."""

from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, Signals

import pytest

from worker.stopping import StopRequests


def stop_requests(*, in_job: bool = False, woken: list[str] | None = None) -> StopRequests:
    woken = [] if woken is None else woken
    return StopRequests(in_job=in_job, clock=lambda: 5.0, wake=lambda: woken.append("woken"))


def test_a_worker_that_nobody_asked_goes_on() -> None:
    asked = stop_requests()
    assert (asked.wanted, asked.at_once, asked.why) == (False, False, "")


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP, SIGUSR1])
def test_the_first_signal_releases_the_run(number: Signals) -> None:
    woken: list[str] = []
    asked = stop_requests(woken=woken)
    asked.note_signal(number)
    assert (asked.wanted, asked.at_once, asked.seconds_since(), woken) == (True, False, 0.0, ["woken"])
    assert asked.why == ("its time is nearly up" if number == SIGUSR1 else "asked to stop")


@pytest.mark.parametrize(
    ("second", "in_job", "hurries"),
    [
        (SIGINT, False, True),
        (SIGTERM, False, True),
        (SIGQUIT, False, True),
        (SIGHUP, False, False),
        (SIGUSR1, False, False),
        (SIGTERM, True, False),
        (SIGINT, True, True),
    ],
)
def test_who_hurries_a_worker_that_stops_already(second: Signals, in_job: bool, hurries: bool) -> None:
    asked = stop_requests(in_job=in_job)
    asked.note_signal(SIGTERM)
    asked.note_signal(second)
    assert (asked.at_once, asked.why) == (hurries, "asked to stop")


def test_sigquit_stops_at_once_by_itself() -> None:
    asked = stop_requests()
    asked.note_signal(SIGQUIT)
    assert asked.at_once


def test_a_reason_of_the_worker_itself_hurries_nobody() -> None:
    asked = stop_requests()
    asked.ask()
    asked.ask()
    assert asked.wanted and not asked.at_once
    asked.note_signal(SIGINT)
    assert asked.at_once


@pytest.mark.parametrize("within", [SIGTERM, SIGUSR1])
def test_a_signal_in_the_middle_of_anothers_handler_counts_once(within: Signals) -> None:
    """A scheduler's SIGUSR1 and SIGTERM once came so close together that the worker wrote no checkpoint."""
    waiting = [within]

    def clock() -> float:
        if waiting:
            asked.note_signal(waiting.pop())
        return 5.0

    asked = StopRequests(in_job=True, clock=clock, wake=lambda: None)
    asked.note_signal(SIGUSR1)
    assert (asked.wanted, asked.at_once) == (True, False)
