"""Slow clients: a request that does not become complete and an answer that is not read end the connection."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from orchestrator.dashboard.serving.patience import PATIENCE_SECONDS, PatientProtocol

HEAD = b"POST /api/control HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n"


class Loop:
    """Notes what is to be called later, and starts nothing."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None], Mock]] = []

    def call_later(self, seconds: float, action: Callable[[], None]) -> Mock:
        handle = Mock()
        self.waiting.append((seconds, action, handle))
        return handle

    def create_task(self, coroutine: Any, **options: Any) -> Mock:
        coroutine.close()
        return Mock()

    def run_out(self) -> None:
        """Let PATIENCE_SECONDS pass."""
        for seconds, action, handle in self.waiting:
            if seconds <= PATIENCE_SECONDS and not handle.cancel.called:
                action()


@pytest.fixture
def connection() -> tuple[PatientProtocol, Mock, Loop]:
    """A connection that has just been made, its transport and its loop."""
    loop, transport = Loop(), Mock()
    transport.get_extra_info.return_value = None
    config = Config(app=Mock(), lifespan="off", ws="none")
    protocol = PatientProtocol(config, ServerState(), {}, _loop=loop)  # type: ignore[arg-type]
    protocol.connection_made(transport)
    return protocol, transport, loop


@pytest.mark.parametrize("parts", [[], [HEAD[:30]], [HEAD[:30], HEAD[30:50]], [HEAD], [HEAD, b"tru"]])
def test_a_request_that_is_not_complete_ends(
    connection: tuple[PatientProtocol, Mock, Loop], parts: list[bytes]
) -> None:
    protocol, transport, loop = connection
    for part in parts:
        protocol.data_received(part)
    loop.run_out()
    transport.abort.assert_called()


def test_a_complete_request_is_answered_however_long_that_takes(
    connection: tuple[PatientProtocol, Mock, Loop],
) -> None:
    protocol, transport, loop = connection
    protocol.data_received(HEAD)
    protocol.data_received(b"true")
    loop.run_out()
    transport.abort.assert_not_called()


def test_an_answer_that_is_not_read_on_ends(connection: tuple[PatientProtocol, Mock, Loop]) -> None:
    protocol, transport, loop = connection
    protocol.data_received(HEAD + b"true")
    protocol.pause_writing()
    protocol.resume_writing()
    loop.run_out()
    transport.abort.assert_not_called()
    protocol.pause_writing()
    loop.run_out()
    transport.abort.assert_called()


def test_a_connection_that_is_gone_is_not_waited_for(connection: tuple[PatientProtocol, Mock, Loop]) -> None:
    protocol, transport, loop = connection
    protocol.pause_writing()
    protocol.connection_lost(None)
    loop.run_out()
    transport.abort.assert_not_called()
