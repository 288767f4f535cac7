"""Closes connections of clients that send or read too slowly: each of them holds memory and a file descriptor."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_SECONDS = 20.0


class PatientProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, and a client has PATIENCE_SECONDS: to send a request as a whole, and to read on."""

    _sending: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._sending = self._closing_later()

    def data_received(self, data: bytes) -> None:
        """Wait until the request is complete."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._sending = self._sending or self._closing_later()
        elif self._sending:
            self._sending.cancel()
            self._sending = None

    def pause_writing(self) -> None:
        """Wait until the client reads on."""
        super().pause_writing()
        self._reading = self._reading or self._closing_later()

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        if self._reading:
            self._reading.cancel()
            self._reading = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        for waiting in filter(None, (self._sending, self._reading)):
            waiting.cancel()
        super().connection_lost(exc)

    def _closing_later(self) -> asyncio.TimerHandle:
        # Not `close`, which would wait for the client to read the rest.
        return self.loop.call_later(PATIENCE_SECONDS, self.transport.abort)
