"""What new events of the database say, by sweep."""

from collections import deque
from collections.abc import Mapping, Sequence

from orchestrator.dashboard.watching.sweep_watch import News
from orchestrator.queue.runs import DELETE, EventRecord
from orchestrator.store import Store
from orchestrator.store.events import MOST_EVENTS

# At the beginning events before the newest count as seen, so far as they are there.
EVENTS_LOOKED_BACK = 200
# PostgreSQL numbers events before they commit: an event may come after later ones, as late as its transaction is long.
# A number that is missing is looked for this long; those of transactions that were rolled back never come.
LATE_SECONDS = 60.0
_REWINDS = ("rewind", "retry")


class NewEvents:
    """Reads each event once, from the newest one at the first call on. Not safe in several threads: the pages guard
    it."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._newest_at: float | None = None
        self._all_to = 0  # every event up to this one was seen, or given up
        self._seen: set[int] = set()  # the others that were
        self._looks: deque[tuple[float, int]] = deque()  # when (monotonic), and what was the newest event then

    def begin(self, store: Store) -> None:
        """Have only later events be new, if that was not said before."""
        if self._newest is None:
            self._newest = store.newest_event()
            self._all_to = max(0, self._newest - EVENTS_LOOKED_BACK)
            self._see(store, store.events_after(self._all_to))

    def read(self, store: Store, *, tick: float) -> Mapping[int, News] | None:
        """The news, by sweep; `tick` is monotonic, in seconds. None where everything must be read anew: there are more
        news than one call reads, or the newest event seen is gone or different (a backup was restored, or another
        database is in its place)."""
        if self._newest is None:
            self.begin(store)
            return {}
        past = store.events_after(max(0, min(self._all_to, self._newest - 1)))
        if len(past) >= MOST_EVENTS or self._is_other_database(past):
            return None
        found: dict[int, list[EventRecord]] = {}
        for event in self._see(store, past):
            if event.sweep_id is not None:
                found.setdefault(event.sweep_id, []).append(event)
        self._looks.append((tick, self._newest))
        while self._looks[0][0] < tick - LATE_SECONDS:
            self._all_to = max(self._all_to, self._looks.popleft()[1])
        return {sweep_id: _news_of(own) for sweep_id, own in found.items()}

    def _see(self, store: Store, past: Sequence[EventRecord]) -> Sequence[EventRecord]:
        """Take note of the events past `_all_to`; returns those that were not seen before."""
        new = [event for event in past if event.id > self._all_to and event.id not in self._seen]
        self._seen |= {event.id for event in new}
        if past:
            self._newest, self._newest_at = past[-1].id, past[-1].at
        if store.location.path is not None and self._newest:  # one transaction after the other: no number is late
            self._all_to = self._newest
        while self._all_to + 1 in self._seen:
            self._all_to += 1
        self._seen = {one for one in self._seen if one > self._all_to}
        return new

    def _is_other_database(self, past: Sequence[EventRecord]) -> bool:
        """`past` are the events from the newest one seen on, or from before it."""
        known = next((event for event in past if event.id == self._newest), None)
        return bool(self._newest) and (known is None or known.at != self._newest_at)


def _news_of(events: Sequence[EventRecord]) -> News:
    return News(
        touched={event.run_id for event in events if event.run_id is not None},
        rewound={event.run_id for event in events if event.run_id is not None and event.action in _REWINDS},
        restructured=any(event.run_id is None for event in events),
        reduced=any(event.action == DELETE for event in events),
    )
