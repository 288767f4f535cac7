"""Delivers waiting notices: calls the user's command for each, and marks the notice once that has succeeded.

A notice is delivered at least once. A kernel lock allows one teller per host and database, so a notice that this host
holds belongs to a dead teller and is free at once. One that another host holds is free when it has not changed for a
full lease, by this process's monotonic clock.
"""

import contextlib
import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import DatabaseBusyError, NotThereError
from orchestrator.files.locks import try_lock
from orchestrator.files.state_folder import make_private_folder
from orchestrator.notify.commands import commands_folder, find_command
from orchestrator.notify.message import Told, message_text, summary
from orchestrator.notify.running import LIMIT_SECONDS, call
from orchestrator.queue.notices import NOTICE_TRIES, Notice, NoticeKind
from orchestrator.store import Store, StoreLocation
from orchestrator.store.known import known_run, known_sweep
from orchestrator.wording.commands import database_option

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class DeliveryTiming:
    """The teller's time limits in seconds; tests shorten them."""

    limit: float = LIMIT_SECONDS
    # Longer than a holder goes without a change: the limit of a call, plus the time to end a command.
    lease: float = LIMIT_SECONDS + 30.0
    waits: tuple[float, ...] = (5.0, 30.0)
    poll: float = 1.0


@dataclass(kw_only=True)
class Teller:
    """Delivers the notices whose commands this user keeps here, and counts those told and given up. Raises
    DatabaseError if the database fails for good."""

    store: Store
    say: Callable[[str], None]
    host: str = field(default_factory=socket.gethostname)
    timing: DeliveryTiming = field(default_factory=DeliveryTiming)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    told: int = 0
    given_up: int = 0
    # By sweep: when a command that has just failed may be tried again. By notice: since when it has looked as it does.
    _not_before: dict[int, float] = field(default_factory=dict)
    _seen: dict[int, tuple[str, int, float]] = field(default_factory=dict)

    def tell_all(self, *, given_up_too: bool = False) -> bool:
        """Deliver until nothing is left; False, at once, if another teller is running on this host. `given_up_too` also
        tries given-up notices once more."""
        again = {notice.id for notice in self._mine() if notice.given_up} if given_up_too else set[int]()
        with _teller_lock(self.store.location) as is_alone:
            if not is_alone:
                return False
            while waiting := [one for one in self._mine() if not one.given_up or one.id in again]:
                due = [one for one in waiting if self._is_due(one)]
                if not due:
                    self.sleep(self.timing.poll)
                    continue
                again.discard(due[0].id)
                self._tell(due[0])
        return True

    def _mine(self) -> list[Notice]:
        notices = self._insist(self.store.undelivered)
        return [notice for notice in notices if find_command(notice.token) is not None]

    def _is_due(self, notice: Notice) -> bool:
        now = self.clock()
        if now < self._not_before.get(notice.sweep_id, now):
            return False
        if not notice.holder or notice.holder == self.host:
            return True
        holder, tries, since = self._seen.get(notice.id, ("", 0, now))
        if (holder, tries) != (notice.holder, notice.tries):
            self._seen[notice.id] = (notice.holder, notice.tries, now)
            return False
        return now - since >= self.timing.lease

    def _tell(self, seen: Notice) -> None:
        """One try of one notice."""
        # A notice that was given up, or whose teller died at the last try, starts over.
        tries = seen.tries + 1 if seen.tries < NOTICE_TRIES else 1
        held = self._insist(lambda: self.store.take_notice(seen, self.host, tries=tries))
        command = find_command(seen.token)
        if held is None or command is None:
            return
        try:
            told = self._insist(lambda: gather(self.store, held))
        except NotThereError:  # deleted just now, and the notice with it
            return
        event, line = told.notice.kind.value, summary(told)
        environment = {"HLBQ_EVENT": event, "HLBQ_SUMMARY": line, "HLBQ_DB": self.store.location.public}
        error = call(command, message_text(told), environment, limit_seconds=self.timing.limit)
        self._insist(lambda: self.store.notice_tried(held, error))
        if not error:
            self.told += 1
            self.say(f"delivered: {line}")
            return
        last = held.tries >= NOTICE_TRIES
        self.given_up += last
        self.say(f"try {held.tries} of {NOTICE_TRIES} failed ({error}): {line}")
        if not last:
            wait = self.timing.waits[min(held.tries, len(self.timing.waits)) - 1]
            self._not_before[held.sweep_id] = self.clock() + wait

    def _insist(self, ask: Callable[[], Result]) -> Result:
        """Ask the database until it answers: a short outage must not lose the record of a delivery."""
        until = self.clock() + self.timing.lease
        while True:
            try:
                return ask()
            except DatabaseBusyError:
                if self.clock() > until:
                    raise
                self.sleep(self.timing.poll)


def may_be_told(store: Store) -> bool:
    """Whether a notice is waiting whose command this user keeps here."""
    return any(not one.given_up and find_command(one.token) is not None for one in store.undelivered())


def teller_at_work(location: StoreLocation) -> bool:
    """Whether a teller for this database is running on this host: it checks once more before it leaves."""
    with _teller_lock(location) as is_alone:
        return not is_alone


def gather(store: Store, notice: Notice) -> Told:
    """A notice with what the database knows of it. Raises NotThereError if its sweep or run was deleted."""
    sweep = known_sweep(store, notice.sweep_id)
    run = known_run(store, notice.run_id) if notice.run_id is not None else None
    attempts = store.attempts(run.id) if run else []
    failed = notice.kind is NoticeKind.RUN_FAILED and run is not None
    what = f"show {notice.run_id}" if failed else f"status --sweep {sweep.id}"
    place = store.location.public
    return Told(
        notice=notice,
        sweep=sweep,
        run=run,
        attempt=next((one for one in attempts if one.fence == notice.fence), None),
        best=store.best_run(sweep.id),
        database=place,
        next_command=f"hlbq {what}{database_option(place)}",
    )


@contextlib.contextmanager
def _teller_lock(location: StoreLocation) -> Iterator[bool]:
    """Hold the lock of this host's teller; False while another holds it."""
    name = f"{socket.gethostname()} {location.public}".encode(errors="surrogateescape")
    file = f"{hashlib.sha256(name).hexdigest()[:16]}.lock"
    with contextlib.ExitStack() as held:
        try:
            folder = commands_folder()
            make_private_folder(folder)
            is_alone = held.enter_context(try_lock(folder / file))
        except OSError:  # a home on a disk without locks, or read-only here
            is_alone = held.enter_context(try_lock(Path(tempfile.gettempdir()) / f"hlbq-notify-{os.geteuid()}-{file}"))
        yield is_alone
