"""One refresh a second for all open pages together, and the streams that tell each page what changed.

A page subscribes to a topic: `overview`, `workers`, `run/12`, `sweep/3`, or `sweep/3,5` for sweeps together. Without
listeners, nothing is read.
"""

import asyncio
import contextlib
import json
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from hlbgpt_core.errors import HlbqError
from orchestrator.dashboard import answers
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.watching.overview_watch import OverviewWatch
from orchestrator.dashboard.watching.sweep_curves import CurveQuestion, SweepCurves
from orchestrator.dashboard.watching.sweep_watch import News, SweepWatch
from orchestrator.errors import DatabaseError, NotThereError
from orchestrator.queue.runs import DELETE, EventRecord
from orchestrator.store import Store
from orchestrator.store.events import MOST_EVENTS
from orchestrator.store.known import known_sweep

LOOK_EVERY_SECONDS = 1.0
# A page takes a stream for dead that stays silent longer than this.
QUIET_SECONDS = 10.0
# A sweep that nobody has opened for this long is read again before it is shown.
STALE_SECONDS = 3.0
# Browsers hold six connections to a server, over all their tabs: leave two for the pages' other requests.
MOST_STREAMS_A_BROWSER = 4
MOST_WAITING_MESSAGES = 50
MOST_WATCHED_SWEEPS = 8
MOST_CURVES_KEPT = 16
# PostgreSQL numbers events before they commit: a late event may have a smaller number than one already seen.
EVENTS_LOOKED_BACK = 200
_REWINDS = ("rewind", "retry")
MOST_SWEEPS_TOGETHER = 20
LONGEST_NUMBER = 19  # of a row, in either database
Sweeps = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subscriber:
    """One open page: its topic, its browser, and the messages not yet sent."""

    topic: str
    browser: str = ""
    messages: "asyncio.Queue[bytes | None]" = field(default_factory=lambda: asyncio.Queue(MOST_WAITING_MESSAGES))

    def tell(self, message: bytes | None) -> None:
        """Queue a message. A page that does not keep up has to read everything again."""
        if self.messages.full():
            while not self.messages.empty():
                self.messages.get_nowait()
            message = None if message is None else encoded_event("reload", {})
        self.messages.put_nowait(message)

    def send_away(self) -> None:
        """End the stream; the page reconnects and asks for what it missed."""
        while not self.messages.empty():
            self.messages.get_nowait()
        self.messages.put_nowait(encoded_event("again", {}))
        self.messages.put_nowait(None)


class Feed:
    """What all open pages share. Refreshes run in threads, one at a time."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self._clock = clock
        self._lock = threading.RLock()
        self._generation = database.generation
        self._watches: dict[Sweeps, SweepWatch] = {}
        self._curves: dict[tuple[Sweeps, CurveQuestion], SweepCurves] = {}
        self._wholes: dict[Sweeps, tuple[str, int, bytes]] = {}
        self._overview = OverviewWatch()
        self._newest_event: int | None = None
        self._newest_event_at: float | None = None
        self._seen: set[int] = set()
        self._told: dict[str, bytes] = {}
        self._subscribers: dict[Subscriber, None] = {}  # in order of arrival
        self._away = False
        self._closing = False

    # --- called by requests, in threads -------------------------------------------------------------------------

    def sweep(self, sweeps: Sweeps) -> bytes:
        """The page of a sweep, or of several together, as JSON. Raises NotThereError if one does not exist."""
        with self._lock, self.database.reading() as store:
            watch = self._watch(store, sweeps, now=True)
            kept = self._wholes.get(sweeps)
            if kept is None or kept[:2] != (watch.epoch, watch.version):
                kept = (watch.epoch, watch.version, encoded(watch.whole(store)))
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
            return self._overview_words(store)

    def _overview_words(self, store: Store) -> dict[str, Any]:
        return self._overview.words(store, now=self._clock(), tick=time.monotonic())

    def _is_looked_at(self, sweeps: Sweeps) -> bool:
        return any(one.topic == topic_of(sweeps) for one in list(self._subscribers))

    def _watch(self, store: Store, sweeps: Sweeps, *, now: bool = False) -> SweepWatch:
        """The watch of sweeps. If no stream refreshes it, it is read again when stale or when `now` is true."""
        self._forget_other_database()
        watch, tick = self._watches.pop(sweeps, None), time.monotonic()
        now = now or watch is None or tick > watch.looked_at + STALE_SECONDS
        if watch is None:
            for sweep_id in sweeps:
                known_sweep(store, sweep_id)
            if self._newest_event is None:
                self._newest_event = store.newest_event()
            watch = SweepWatch(sweeps)
        if not watch.lines or (now and not self._is_looked_at(sweeps)):
            watch.refresh(store, News(restructured=True), now=self._clock(), tick=tick)
        self._watches[sweeps] = watch
        for old in list(self._watches)[:-MOST_WATCHED_SWEEPS]:
            if not self._is_looked_at(old):
                del self._watches[old]
                self._wholes.pop(old, None)
        return watch

    def _forget_other_database(self) -> None:
        if self._generation != self.database.generation:
            self._generation = self.database.generation
            self._forget()

    def _forget(self) -> None:
        self._watches, self._curves, self._wholes, self._overview = {}, {}, {}, OverviewWatch()
        self._newest_event, self._newest_event_at, self._seen, self._told = None, None, set(), {}

    def _forget_sweep(self, sweep_id: int) -> None:
        """Have a sweep read again as a whole: deleted runs leave no trace in what is kept."""
        for sweeps in [one for one in self._watches if sweep_id in one]:
            del self._watches[sweeps]
            self._wholes.pop(sweeps, None)
        self._curves = {key: kept for key, kept in self._curves.items() if sweep_id not in key[0]}

    # --- the refresh --------------------------------------------------------------------------------------------------

    def refresh(self, topics: set[str]) -> dict[str, bytes]:
        """See what changed of `topics`; returns a message for each that changed. Raises DatabaseError."""
        with self._lock, self.database.reading() as store:
            self._forget_other_database()
            news = self._news(store)
            try:
                return self._messages(store, topics, news)
            except Exception:
                self._forget()  # events were lost: read everything again
                raise

    def _messages(self, store: Store, topics: set[str], news: Mapping[int, News]) -> dict[str, bytes]:
        found = {}
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
                message = self._once(topic, encoded_event("trouble", problem_words(error)))
            if message is not None:
                found[topic] = message
        for sweeps, watch in list(self._watches.items()):
            # Nobody is listening; somebody may come back.
            if topic_of(sweeps) not in topics and not news.keys().isdisjoint(sweeps):
                with contextlib.suppress(NotThereError):
                    watch.refresh(store, _joined(news, sweeps), now=self._clock(), tick=time.monotonic())
        return found

    def _news(self, store: Store) -> Mapping[int, News]:
        """What new events say, by sweep."""
        if self._newest_event is None:
            self._newest_event = store.newest_event()
            return {}
        looked_back = 1 if store.location.path else EVENTS_LOOKED_BACK
        newest = store.events_after(max(0, self._newest_event - looked_back))
        if self._is_other_database(newest):
            self._forget()
            return {}
        found: dict[int, list[EventRecord]] = {}
        for event in newest:
            if event.id > self._newest_event:
                self._newest_event, self._newest_event_at = event.id, event.at
            elif event.id in self._seen or event.id == self._newest_event:
                continue
            self._seen.add(event.id)
            if event.sweep_id is not None:
                found.setdefault(event.sweep_id, []).append(event)
        self._seen = {one for one in self._seen if one > self._newest_event - EVENTS_LOOKED_BACK}
        return {sweep_id: _news_of(own) for sweep_id, own in found.items()}

    def _is_other_database(self, newest: Sequence[EventRecord]) -> bool:
        """Whether the newest event seen is gone or different: a backup was restored, or another database is in its
        place.

        `newest` are the events from it on; of very many only the last ones, so it may be missing.
        """
        if not self._newest_event or len(newest) >= MOST_EVENTS:
            return False
        known = next((event for event in newest if event.id == self._newest_event), None)
        if known is None:
            return True
        before, self._newest_event_at = self._newest_event_at, known.at
        return before is not None and before != known.at

    def _sweep_message(self, store: Store, sweeps: Sweeps, news: Mapping[int, News]) -> bytes | None:
        watch = self._watches.get(sweeps)
        if watch is None:  # another database has replaced the first, or runs were deleted
            for sweep_id in sweeps:
                known_sweep(store, sweep_id)
            return encoded_event("reload", {})
        before, outline = watch.version, watch.outline
        changed = watch.refresh(store, _joined(news, sweeps), now=self._clock(), tick=time.monotonic())
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
            return encoded_event(kind, answers.workers(store, self._clock()))
        return encoded_event(kind, answers.run_progress(store, int(number)))

    # --- streams ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Refresh once a second while anybody listens, and send the changes."""
        while not self._closing:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            topics = {one.topic for one in self._subscribers}
            self._told = {topic: told for topic, told in self._told.items() if topic in topics}
            if topics:
                await self._look_and_tell(topics)
            else:
                with contextlib.suppress(DatabaseError), self.database.reading():
                    pass  # notices a database that was replaced

    async def _look_and_tell(self, topics: set[str]) -> None:
        try:
            found = await run_in_threadpool(self.refresh, topics)
        except DatabaseError as error:
            self._away = True
            self._tell_all(encoded_event("trouble", problem_words(error)))
            return
        except Exception:  # a bug must not stop the refreshes of all pages
            self._away = True
            traceback.print_exc()
            self._tell_all(
                encoded_event("trouble", {"error": "the dashboard failed", "hint": "See its terminal for the reason."})
            )
            return
        if self._away:
            self._away = False
            self._tell_all(encoded_event("reload", {}))
        for one in list(self._subscribers):
            if one.topic in found:
                one.tell(found[one.topic])

    def _tell_all(self, message: bytes) -> None:
        for one in list(self._subscribers):
            one.tell(message)

    async def stream(self, topic: str, epoch: str, since: int, browser: str = "") -> AsyncIterator[bytes]:
        """The messages of `topic`, starting with what a page at version `since` of a sweep missed.

        `browser` identifies the page's browser: if it has many pages, they take turns.
        """
        subscriber = Subscriber(topic=topic, browser=browser)
        self._make_room(browser)
        self._subscribers[subscriber] = None
        try:
            yield encoded_event("hello", {})
            missed = await run_in_threadpool(self._missed, topic, epoch, since)
            if missed is not None:
                yield missed
            while not self._closing:
                try:
                    message = await asyncio.wait_for(subscriber.messages.get(), QUIET_SECONDS)
                except TimeoutError:
                    yield b": quiet\n\n"
                    continue
                if message is None:
                    return
                yield message
        finally:
            self._subscribers.pop(subscriber, None)

    def _make_room(self, browser: str) -> None:
        """End the oldest streams of a browser that has reached its limit; `again` asks them to reconnect."""
        own = [one for one in self._subscribers if browser and one.browser == browser]
        for one in own[: max(0, len(own) - MOST_STREAMS_A_BROWSER + 1)]:
            del self._subscribers[one]
            one.send_away()

    def _missed(self, topic: str, epoch: str, since: int) -> bytes | None:
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
                return encoded_event("trouble", problem_words(error))
            watch = self._watches.get(read_sweeps(number))
            if watch is None or watch.epoch != epoch:
                return encoded_event("reload", {})
            return encoded_event("changes", watch.changes(since=since))

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        for one in list(self._subscribers):
            one.tell(None)


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


def _news_of(events: Sequence[EventRecord]) -> News:
    return News(
        touched={event.run_id for event in events if event.run_id is not None},
        rewound={event.run_id for event in events if event.run_id is not None and event.action in _REWINDS},
        restructured=any(event.run_id is None for event in events),
        reduced=any(event.action == DELETE for event in events),
    )


def problem_words(error: HlbqError) -> Mapping[str, str]:
    """What pages tell of an error."""
    return {"error": error.message, "hint": error.hint}


def encoded(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def encoded_event(name: str, value: Any) -> bytes:
    """A server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + encoded(value) + b"\n\n"
