"""One refresh a second for all open pages together, and the streams that tell each page what changed.

A page subscribes to its topic (pages.py). Without listeners, nothing is read.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from orchestrator.dashboard.database import Database
from orchestrator.dashboard.watching.messages import encoded_event, problem_words
from orchestrator.dashboard.watching.pages import Pages
from orchestrator.errors import DatabaseError

LOOK_EVERY_SECONDS = 1.0
# A page takes a stream for dead that stays silent longer than this.
QUIET_SECONDS = 10.0
# Browsers hold six connections to a server, over all their tabs: leave two for the pages' other requests.
MOST_STREAMS_A_BROWSER = 4
MOST_WAITING_MESSAGES = 50


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
    """Tells all open pages what changed. Refreshes run in threads, one at a time."""

    def __init__(self, database: Database) -> None:
        self._subscribers: dict[Subscriber, None] = {}  # in order of arrival
        self.pages = Pages(database, self._is_open)
        self._away = False
        self._closing = False

    def _is_open(self, topic: str) -> bool:
        return any(one.topic == topic for one in list(self._subscribers))

    async def run(self) -> None:
        """Refresh once a second while anybody listens, and send the changes."""
        while not self._closing:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            topics = {one.topic for one in self._subscribers}
            if topics:
                await self._look_and_tell(topics)
            else:
                self.pages.rest()

    async def _look_and_tell(self, topics: set[str]) -> None:
        try:
            found = await run_in_threadpool(self.pages.refresh, topics)
        except DatabaseError as error:
            self._away = True
            self._tell_all(encoded_event("trouble", problem_words(error, self.pages.database.option)))
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
            missed = await run_in_threadpool(self.pages.missed, topic, epoch, since)
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

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        for one in list(self._subscribers):
            one.tell(None)
