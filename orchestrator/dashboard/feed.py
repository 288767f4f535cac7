"""One look a second for all open pages together, and the streams that tell each page what changed.

A page subscribes to a topic: `overview`, `workers`, `sweep/3` or `run/12`. While nobody listens nothing is read.
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

from orchestrator.dashboard import answers
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.sweep_curves import SweepCurves
from orchestrator.dashboard.sweep_watch import News, SweepWatch
from orchestrator.errors import DatabaseError, NotThereError
from orchestrator.metrics import Axis, Metric
from orchestrator.records import EventRecord
from orchestrator.store import Store

LOOK_EVERY_SECONDS = 1.0
# A stream that says nothing for longer than a page waits is taken for dead.
QUIET_SECONDS = 10.0
MOST_WAITING_MESSAGES = 50
MOST_WATCHED_SWEEPS = 8
MOST_CURVES_KEPT = 24
# PostgreSQL numbers events before they commit: a late one may have a smaller number than one already seen.
EVENTS_LOOKED_BACK = 200
_REWINDS = ("rewind", "retry")


@dataclass(frozen=True, kw_only=True, eq=False)
class Subscriber:
    """One open page: what it wants to hear of, and what it has not been told yet."""

    topic: str
    messages: "asyncio.Queue[bytes | None]" = field(default_factory=lambda: asyncio.Queue(MOST_WAITING_MESSAGES))

    def tell(self, message: bytes | None) -> None:
        """Queue a message; a page that does not keep up is told to read everything anew."""
        if self.messages.full():
            while not self.messages.empty():
                self.messages.get_nowait()
            message = None if message is None else encoded_event("reload", {})
        self.messages.put_nowait(message)


class Feed:
    """What all open pages share. Looks run in threads, one at a time."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self._clock = clock
        self._lock = threading.RLock()
        self._generation = database.generation
        self._watches: dict[int, SweepWatch] = {}
        self._curves: dict[tuple[int, str, Axis], SweepCurves] = {}
        self._wholes: dict[int, tuple[str, int, bytes]] = {}
        self._newest_event: int | None = None
        self._seen: set[int] = set()
        self._told: dict[str, bytes] = {}
        self._subscribers: set[Subscriber] = set()
        self._away = False
        self._closing = False

    # --- what requests ask for, in threads -------------------------------------------------------------------------

    def sweep(self, sweep_id: int) -> bytes:
        """A sweep's page as JSON. Raises NotThereError where there is none of that number."""
        with self._lock, self.database.reading() as store:
            watch = self._watch(store, sweep_id)
            kept = self._wholes.get(sweep_id)
            if kept is None or kept[:2] != (watch.epoch, watch.version):
                kept = (watch.epoch, watch.version, encoded(watch.whole(store)))
                self._wholes[sweep_id] = kept
            return kept[2]

    def curves(self, sweep_id: int, metric: Metric, axis: Axis) -> tuple[SweepWatch, SweepCurves]:
        """The sweep and its curves of `metric` over `axis`, which are kept for the next call."""
        with self._lock, self.database.reading() as store:
            watch = self._watch(store, sweep_id)
            key = (sweep_id, metric.name, axis)
            # The newest stands last; the oldest goes.
            found = self._curves.pop(key, None) or SweepCurves(metric, axis)
            self._curves[key] = found
            while len(self._curves) > MOST_CURVES_KEPT:
                del self._curves[next(iter(self._curves))]
            return watch, found

    def _watch(self, store: Store, sweep_id: int) -> SweepWatch:
        self._forget_other_database()
        watch = self._watches.pop(sweep_id, None)
        if watch is None:
            if store.sweep(sweep_id) is None:
                raise NotThereError(f"there is no sweep {sweep_id}", "The overview lists the sweeps.")
            if self._newest_event is None:
                self._newest_event = store.newest_event()
            watch = SweepWatch(sweep_id)
            watch.look(store, News(restructured=True), now=self._clock(), tick=time.monotonic())
        self._watches[sweep_id] = watch
        wanted = {int(one.topic[6:]) for one in self._subscribers if one.topic.startswith("sweep/")}
        for old in list(self._watches)[:-MOST_WATCHED_SWEEPS]:
            if old not in wanted:
                del self._watches[old]
                self._wholes.pop(old, None)
        return watch

    def _forget_other_database(self) -> None:
        if self._generation != self.database.generation:
            self._generation = self.database.generation
            self._watches, self._curves, self._wholes = {}, {}, {}
            self._newest_event, self._seen, self._told = None, set(), {}

    # --- the look -----------------------------------------------------------------------------------------------------

    def look(self, topics: set[str]) -> dict[str, bytes]:
        """See what changed of `topics`; returns a message for each that changed. Raises DatabaseError."""
        with self._lock, self.database.reading() as store:
            self._forget_other_database()
            found = {}
            news = self._news(store)
            for topic in sorted(topics):
                kind, _, number = topic.partition("/")
                try:
                    if kind == "sweep":
                        message = self._sweep_message(store, int(number), news.get(int(number), News()))
                    else:
                        message = self._small_message(store, topic, kind, number)
                except NotThereError:
                    continue  # whoever asks for a run that there is not hears nothing
                if message is not None:
                    found[topic] = message
            return found

    def _news(self, store: Store) -> Mapping[int, News]:
        """What new events tell, by sweep."""
        if self._newest_event is None:
            self._newest_event = store.newest_event()
            return {}
        found: dict[int, list[EventRecord]] = {}
        after = max(0, self._newest_event - EVENTS_LOOKED_BACK)
        for event in store.events_after(after if not store.location.path else self._newest_event):
            if event.id in self._seen or event.sweep_id is None:
                continue
            self._seen.add(event.id)
            self._newest_event = max(self._newest_event, event.id)
            found.setdefault(event.sweep_id, []).append(event)
        self._seen = {one for one in self._seen if one > self._newest_event - EVENTS_LOOKED_BACK}
        return {sweep_id: _news_of(own) for sweep_id, own in found.items()}

    def _sweep_message(self, store: Store, sweep_id: int, news: News) -> bytes | None:
        watch = self._watches.get(sweep_id)
        if watch is None:  # another database stands where the first one did
            return encoded_event("reload", {})
        before, arms = watch.version, len(watch.arms)
        changed = watch.look(store, news, now=self._clock(), tick=time.monotonic())
        if len(watch.arms) != arms:
            return encoded_event("reload", {})
        return encoded_event("changes", watch.changes(since=before)) if changed else None

    def _small_message(self, store: Store, topic: str, kind: str, number: str) -> bytes | None:
        """The whole of a small page, where it is not what was told last."""
        if kind == "overview":
            found = answers.overview(store)
        elif kind == "workers":
            found = answers.workers(store, self._clock())
        else:
            found = answers.run_progress(store, int(number))
        message = encoded_event(kind, found)
        if self._told.get(topic) == message:
            return None
        self._told[topic] = message
        return message

    # --- streams ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look once a second while anybody listens, and tell them."""
        while not self._closing:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            topics = {one.topic for one in self._subscribers}
            self._told = {topic: told for topic, told in self._told.items() if topic in topics}
            if topics:
                await self._look_and_tell(topics)

    async def _look_and_tell(self, topics: set[str]) -> None:
        try:
            found = await run_in_threadpool(self.look, topics)
        except DatabaseError as error:
            self._away = True
            self._tell_all(encoded_event("trouble", {"error": error.message, "hint": error.hint}))
            return
        except Exception:  # a fault of the program must not end the looks of all pages
            self._away = True
            traceback.print_exc()
            self._tell_all(
                encoded_event("trouble", {"error": "the dashboard failed", "hint": "Its terminal says why."})
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

    async def stream(self, topic: str, epoch: str, since: int) -> AsyncIterator[bytes]:
        """The messages of `topic`, beginning with what a page at version `since` of a sweep has missed."""
        subscriber = Subscriber(topic=topic)
        self._subscribers.add(subscriber)
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
            self._subscribers.discard(subscriber)

    def _missed(self, topic: str, epoch: str, since: int) -> bytes | None:
        kind, _, number = topic.partition("/")
        if kind != "sweep":
            return None
        with self._lock:
            watch = self._watches.get(int(number))
            if watch is None or watch.epoch != epoch:
                return encoded_event("reload", {})
            return encoded_event("changes", watch.changes(since=since))

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        for one in list(self._subscribers):
            with contextlib.suppress(asyncio.QueueFull):
                one.tell(None)


def _news_of(events: Sequence[EventRecord]) -> News:
    return News(
        touched={event.run_id for event in events if event.run_id is not None},
        rewound={event.run_id for event in events if event.run_id is not None and event.action in _REWINDS},
        restructured=any(event.run_id is None for event in events),
    )


def encoded(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def encoded_event(name: str, value: Any) -> bytes:
    """A server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + encoded(value) + b"\n\n"
