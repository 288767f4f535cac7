"""What new events of the database say, by sweep."""

from collections.abc import Mapping, Sequence

from orchestrator.dashboard.watching.sweep_watch import News
from orchestrator.queue.runs import DELETE, EventRecord
from orchestrator.store import Store
from orchestrator.store.events import MOST_EVENTS

# PostgreSQL numbers events before they commit: a late event may have a smaller number than one already seen.
EVENTS_LOOKED_BACK = 200
_REWINDS = ("rewind", "retry")


class NewEvents:
    """Reads each event once, from the newest one at the first call on. Not safe in several threads: the pages guard
    it."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._newest_at: float | None = None
        self._seen: set[int] = set()

    def begin(self, store: Store) -> None:
        """Have only later events be new, if that was not said before."""
        if self._newest is None:
            self._newest = store.newest_event()

    def read(self, store: Store) -> Mapping[int, News] | None:
        """The news, by sweep; None where the newest event seen is gone or different: a backup was restored, or another
        database is in its place."""
        if self._newest is None:
            self.begin(store)
            return {}
        looked_back = 1 if store.location.path else EVENTS_LOOKED_BACK
        newest = store.events_after(max(0, self._newest - looked_back))
        if self._is_other_database(newest):
            return None
        found: dict[int, list[EventRecord]] = {}
        for event in newest:
            if event.id > self._newest:
                self._newest, self._newest_at = event.id, event.at
            elif event.id in self._seen or event.id == self._newest:
                continue
            self._seen.add(event.id)
            if event.sweep_id is not None:
                found.setdefault(event.sweep_id, []).append(event)
        self._seen = {one for one in self._seen if one > self._newest - EVENTS_LOOKED_BACK}
        return {sweep_id: _news_of(own) for sweep_id, own in found.items()}

    def _is_other_database(self, newest: Sequence[EventRecord]) -> bool:
        """`newest` are the events from the newest one seen on; of very many only the last, so it may be missing."""
        if not self._newest or len(newest) >= MOST_EVENTS:
            return False
        known = next((event for event in newest if event.id == self._newest), None)
        if known is None:
            return True
        before, self._newest_at = self._newest_at, known.at
        return before is not None and before != known.at


def _news_of(events: Sequence[EventRecord]) -> News:
    return News(
        touched={event.run_id for event in events if event.run_id is not None},
        rewound={event.run_id for event in events if event.run_id is not None and event.action in _REWINDS},
        restructured=any(event.run_id is None for event in events),
        reduced=any(event.action == DELETE for event in events),
    )
