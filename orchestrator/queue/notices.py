"""Notices: what `--notify` is to report, and to whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.queue.states import State

# How often a notice's command is tried automatically; after that a person has to retry it.
NOTICE_TRIES = 3
# Its actor in the events.
NOTIFIER = "notify"


class NoticeKind(StrEnum):
    """The events that `--notify` reports."""

    SWEEP_ENDED = "sweep_ended"
    RUN_FAILED = "run_failed"


@dataclass(frozen=True, kw_only=True)
class NotifyMark:
    """Says that a sweep's user wants notices. The command itself stays in the user's own folder, under `token`.

    `by` names user and host, for people.
    """

    token: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to report to a sweep's user.

    `counts` are the sweep's runs by state when it happened. A notice belongs to its `holder` (a host) while `tries`
    keeps changing; `token` names the command.
    """

    id: int
    sweep_id: int
    run_id: int | None
    fence: int | None
    kind: NoticeKind
    at: float
    counts: Mapping[State, int]
    holder: str
    tries: int
    error: str
    token: str
    by: str

    @property
    def given_up(self) -> bool:
        """Whether it is only tried again on request."""
        return not self.holder and self.tries >= NOTICE_TRIES
