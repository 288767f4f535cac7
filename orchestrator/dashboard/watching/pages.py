"""What the open pages show, kept from one look to the next, and the messages on what changed.

A page is a topic: `overview`, `workers`, `run/12`, `sweep/3`, or `sweep/3,5` for sweeps together.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.dashboard import answers
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.watching.messages import encoded, encoded_event, problem_words
from orchestrator.dashboard.watching.new_events import NewEvents
from orchestrator.dashboard.watching.overview_watch import OverviewWatch
from orchestrator.dashboard.watching.run_readings import CurveQuestion
from orchestrator.dashboard.watching.sweep_curves import SweepCurves
from orchestrator.dashboard.watching.sweep_watch import News, SweepWatch
from orchestrator.errors import DatabaseError, NotThereError
from orchestrator.store import Store
from orchestrator.store.known import known_sweep

# A sweep that nobody has opened for this long is read again before it is shown.
STALE_SECONDS = 3.0
MOST_WATCHED_SWEEPS = 8
MOST_CURVES_KEPT = 16
MOST_SWEEPS_TOGETHER = 20
LONGEST_NUMBER = 19  # of a row, in either database
Sweeps = tuple[int, ...]


class Pages:
    """What all open pages share. Called in threads, one at a time. `is_open` says whether a topic's page is open."""

    def __init__(self, database: Database, is_open: Callable[[str], bool]) -> None:
        self.database, self._is_open = database, is_open
        self._lock = threading.RLock()
        self._generation = database.generation
        self._forget()

    def sweep(self, sweeps: Sweeps) -> bytes:
        """The page of a sweep, or of several together, as JSON. Raises NotThereError if one does not exist."""
        with self._lock, self.database.reading() as store:
            watch = self._watch(store, sweeps, now=True)
            kept = self._wholes.get(sweeps)
            if kept is None or kept[:2] != (watch.epoch, watch.version):
                kept = (watch.epoch, watch.version, encoded(watch.whole()))
                self._wholes[sweeps] = kept
            return kept[2]

    def curves(self, sweeps: Sweeps, question: CurveQuestion) -> tuple[SweepWatch, SweepCurves]:
        """The sweeps and their curves, which are kept for the next call."""
        with self._lock, self.database.reading() as store:
            watch = self._watch(store, sweeps)
            key = (sweeps, question)
            # The newest is last; drop the oldest.
            found = self._curves.pop(key, None) or SweepCurves(question)
            self._curves[key] = found
            while len(self._curves) > MOST_CURVES_KEPT:
                del self._curves[next(iter(self._curves))]
            return watch, found

    def overview(self) -> dict[str, Any]:
        """The overview's page."""
        with self._lock, self.database.reading() as store:
            self._forget_other_database()
            self._events.begin(store)
            return self._overview_words(store)

    def _overview_words(self, store: Store) -> dict[str, Any]:
        return self._overview.words(store, now=time.time(), tick=time.monotonic())

    def _watch(self, store: Store, sweeps: Sweeps, *, now: bool = False) -> SweepWatch:
        """The watch of sweeps. If no stream refreshes it, it is read again when stale or when `now` is true."""
        self._forget_other_database()
        watch, tick = self._watches.pop(sweeps, None), time.monotonic()
        now = now or watch is None or tick > watch.looked_at + STALE_SECONDS
        if watch is None:
            for sweep_id in sweeps:
                known_sweep(store, sweep_id)
            self._events.begin(store)
            watch = SweepWatch(sweeps)
        if not watch.lines or (now and not self._is_open(topic_of(sweeps))):
            watch.refresh(store, News(restructured=True), now=time.time(), tick=tick)
        self._watches[sweeps] = watch
        for old in list(self._watches)[:-MOST_WATCHED_SWEEPS]:
            if not self._is_open(topic_of(old)):
                del self._watches[old]
                self._wholes.pop(old, None)
        return watch

    def _forget_other_database(self) -> None:
        if self._generation != self.database.generation:
            self._generation = self.database.generation
            self._forget()

    def _forget(self) -> None:
        self._watches: dict[Sweeps, SweepWatch] = {}
        self._curves: dict[tuple[Sweeps, CurveQuestion], SweepCurves] = {}
        self._wholes: dict[Sweeps, tuple[str, int, bytes]] = {}
        self._overview, self._events = OverviewWatch(), NewEvents()
        self._told: dict[str, bytes] = {}

    def _forget_sweep(self, sweep_id: int) -> None:
        """Have a sweep read again as a whole: deleted runs leave no trace in what is kept."""
        for sweeps in [one for one in self._watches if sweep_id in one]:
            del self._watches[sweeps]
            self._wholes.pop(sweeps, None)
        self._curves = {key: kept for key, kept in self._curves.items() if sweep_id not in key[0]}

    def refresh(self, topics: set[str]) -> dict[str, bytes]:
        """See what changed of `topics`; returns a message for each that changed. Raises DatabaseError."""
        with self._lock, self.database.reading() as store:
            self._forget_other_database()
            store.check_identity()
            self._told = {topic: told for topic, told in self._told.items() if topic in topics}
            news = self._events.read(store, tick=time.monotonic())
            if news is None:
                self._forget()
            try:
                return self._messages(store, topics, news or {})
            except Exception:
                self._forget()  # events were lost: read everything again
                raise

    def rest(self) -> None:
        """Nobody looks: only notice a database that was replaced. Takes no lock, since it is called in the loop."""
        self._told = {}
        with contextlib.suppress(DatabaseError), self.database.reading():
            pass

    def _messages(self, store: Store, topics: set[str], news: Mapping[int, News]) -> dict[str, bytes]:
        found = {}
        self._overview.touch(news)
        for sweep_id, told in news.items():
            if told.reduced:
                self._forget_sweep(sweep_id)
        for topic in sorted(topics):
            kind, _, number = topic.partition("/")
            try:
                if kind == "sweep":
                    message = self._sweep_message(store, read_sweeps(number), news)
                else:
                    message = self._once(topic, self._small_content(store, kind, number))
            except NotThereError as error:  # most likely deleted while its page was open
                message = self._once(topic, encoded_event("trouble", problem_words(error, self.database.option)))
            if message is not None:
                found[topic] = message
        for sweeps, watch in list(self._watches.items()):
            # Nobody is listening; somebody may come back.
            if topic_of(sweeps) not in topics and not news.keys().isdisjoint(sweeps):
                with contextlib.suppress(NotThereError):
                    watch.refresh(store, _joined(news, sweeps), now=time.time(), tick=time.monotonic())
        return found

    def _sweep_message(self, store: Store, sweeps: Sweeps, news: Mapping[int, News]) -> bytes | None:
        watch = self._watches.get(sweeps)
        if watch is None:  # another database has replaced the first, or runs were deleted
            for sweep_id in sweeps:
                known_sweep(store, sweep_id)
            return encoded_event("reload", {})
        before, outline = watch.version, watch.outline
        changed = watch.refresh(store, _joined(news, sweeps), now=time.time(), tick=time.monotonic())
        if watch.outline != outline:
            return encoded_event("reload", {})
        return encoded_event("changes", watch.changes(since=before)) if changed else None

    def _once(self, topic: str, message: bytes) -> bytes | None:
        """The message, if it differs from the topic's last one."""
        if self._told.get(topic) == message:
            return None
        self._told[topic] = message
        return message

    def _small_content(self, store: Store, kind: str, number: str) -> bytes:
        """All of a small page."""
        if kind == "overview":
            return encoded_event(kind, self._overview_words(store))
        if kind == "workers":
            return encoded_event(kind, answers.workers(store))
        return encoded_event(kind, answers.run_progress(store, int(number)))

    def missed(self, topic: str, epoch: str, since: int) -> bytes | None:
        """What changed between a page's request for its content and the start of its stream."""
        kind, _, number = topic.partition("/")
        with self._lock:
            try:
                if kind != "sweep":
                    with self.database.reading() as store:
                        return self._small_content(store, kind, number)
            except NotThereError:
                return None
            except DatabaseError as error:
                return encoded_event("trouble", problem_words(error, self.database.option))
            watch = self._watches.get(read_sweeps(number))
            if watch is None or watch.epoch != epoch:
                return encoded_event("reload", {})
            return encoded_event("changes", watch.changes(since=since))


def topic_of(sweeps: Sweeps) -> str:
    """The topic of the page of these sweeps."""
    return f"sweep/{','.join(map(str, sweeps))}"


def read_sweeps(text: str) -> Sweeps:
    """The sweeps of an address, such as `3` or `3,5`. Raises NotThereError for what names none, or too many."""
    numbers = text.split(",")
    if not all(number.isdecimal() and len(number) < LONGEST_NUMBER for number in numbers):
        raise NotThereError(f"there is no sweep '{text}'")
    if len(numbers) > MOST_SWEEPS_TOGETHER:
        raise NotThereError(
            f"{len(numbers)} sweeps cannot be shown together", f"Choose {MOST_SWEEPS_TOGETHER} or fewer."
        )
    return tuple(dict.fromkeys(map(int, numbers)))


def _joined(news: Mapping[int, News], sweeps: Sweeps) -> News:
    told = [news[one] for one in sweeps if one in news]
    return News(
        touched={run for one in told for run in one.touched},
        rewound={run for one in told for run in one.rewound},
        restructured=any(one.restructured for one in told),
    )
