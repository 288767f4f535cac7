"""What is sent to pages, as bytes: JSON, and server-sent events."""

import json
from collections.abc import Mapping
from typing import Any

from hlbgpt_core.errors import HlbqError
from orchestrator.wording.commands import naming_database


def problem_words(error: HlbqError, database_option: str) -> Mapping[str, str]:
    """What pages tell of an error; commands in it name the database by `database_option`."""
    return {"error": error.message, "hint": naming_database(error.hint, database_option)}


def encoded(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def encoded_event(name: str, value: Any) -> bytes:
    """A server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + encoded(value) + b"\n\n"
