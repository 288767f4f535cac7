"""A small W&B server on loopback: what wandb says to it is kept, line by line, and it can be made to fail.

It speaks as much of the protocol as a run needs: GraphQL (Viewer, RunResumeStatus, UpsertBucket, CreateRunFiles, and
the Run query of wandb's public API), file_stream, and uploads. Lines of history are kept by their number, as W&B does:
a line that comes again takes the place of the one before.
"""

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "ada"
KEY = "k" * 40


class Fault(StrEnum):
    """What may happen to a request."""

    REFUSED = "HTTP 500, nothing taken"
    TAKEN_REFUSED = "HTTP 500, but taken"
    TAKEN_DROPPED = "connection dropped, but taken"
    TIMEOUT = "no answer in time, but taken"


@dataclass(kw_only=True)
class HeldRun:
    """A run as the server holds it. `history` is by line; `changed` counts lines that came again with other values."""

    upserts: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    complete: bool = False
    changed: int = 0
    gaps: int = 0

    def last(self, name: str) -> Any:
        """The newest value that an upsert gave a variable."""
        return next((one[name] for one in reversed(self.upserts) if one.get(name) is not None), None)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, without wandb's own."""
        found = json.loads(self.last("config") or "{}")
        return {name: entry["value"] for name, entry in found.items() if name != "_wandb"}


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """A line of history without what wandb adds by its own clock."""
    return {name: value for name, value in line.items() if name not in ("_timestamp", "_runtime")}


class WandbServer:
    """The server with all that it was told. Its state outlives restarts, as a database would."""

    def __init__(self) -> None:
        self.runs: dict[str, HeldRun] = {}
        self.struck: Counter[Fault] = Counter()
        self.requests: Counter[str] = Counter()
        self.hang_seconds = 3.0
        self._armed: list[tuple[Fault, str]] = []
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """What WANDB_BASE_URL must be."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables by which wandb comes here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}

    def start(self) -> None:
        """Listen; after a stop on the same port again."""
        server = self

        class Handler(_Handler):
            owner = server

        self._http = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening and cut every connection, as a server that dies does."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        for connection in list(self._connections):
            # With a reset, not a farewell.
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            except OSError:
                pass
        self._connections.clear()

    def arm(self, fault: Fault, *, path: str = "", times: int = 1) -> None:
        """Have `fault` happen to the next requests whose path or operation holds `path`."""
        with self._lock:
            self._armed += [(fault, path)] * times

    def disarm(self) -> None:
        """Let everything pass again."""
        with self._lock:
            self._armed.clear()

    def strike(self, what: str) -> Fault | None:
        """The fault that hits this request, if one does."""
        with self._lock:
            self.requests[what] += 1
            for armed in self._armed:
                if armed[1] in what:
                    self._armed.remove(armed)
                    self.struck[armed[0]] += 1
                    return armed[0]
        return None

    def take_lines(self, run_id: str, body: dict[str, Any]) -> None:
        """What a file_stream request says."""
        files = body.get("files") or {}
        with self._lock:
            run = self.runs.setdefault(run_id, HeldRun())
            history = files.get("wandb-history.jsonl")
            if history:
                _put_lines(run, history["offset"], [json.loads(line) for line in history["content"]])
            if summary := files.get("wandb-summary.json"):
                run.summary = json.loads(summary["content"][-1])
            if body.get("complete"):
                run.complete = True
                run.exit_codes.append(body.get("exitcode", 0))

    def upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Make or change a run."""
        with self._lock:
            known = variables["name"] in self.runs
            run = self.runs.setdefault(variables["name"], HeldRun())
            run.upserts.append(variables)
            if variables.get("summaryMetrics"):
                run.summary = json.loads(variables["summaryMetrics"])
            bucket = {
                "id": f"id-{variables['name']}",
                "name": variables["name"],
                "displayName": run.last("displayName"),
                "description": "",
                "config": run.last("config"),
                "sweepName": None,
                "project": {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": ENTITY}},
                "historyLineCount": len(run.history),
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": not known}}

    def resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        """What a run that resumes goes on from."""
        with self._lock:
            run = self.runs.get(variables["name"])
            bucket = None
            if run is not None:
                bucket = {
                    "id": f"id-{variables['name']}",
                    "name": variables["name"],
                    "displayName": run.last("displayName"),
                    "summaryMetrics": json.dumps(run.summary),
                    "logLineCount": 0,
                    "historyLineCount": len(run.history),
                    "eventsLineCount": 0,
                    "historyTail": json.dumps([json.dumps(line) for line in run.history[-1:]]),
                    "eventsTail": "[]",
                    "config": run.last("config") or "{}",
                    "tags": run.last("tags") or [],
                    "notes": run.last("notes"),
                    "wandbConfig": '{"t": {}}',
                }
            project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": ENTITY}}
            return {"model": {**project, "bucket": bucket}}

    def described(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The run as wandb's public API asks for it."""
        with self._lock:
            run = self.runs.get(variables["name"])
            if run is None:
                return {"project": {"internalId": "1", "run": None}}
            texts = ("systemMetrics", "summaryMetrics", "config")
            nothing = ("sweepName", "group", "jobType", "commit", "heartbeatAt", "description", "notes")
            return {
                "project": {
                    "internalId": "1",
                    "run": {
                        "id": f"id-{variables['name']}",
                        "name": variables["name"],
                        "projectId": "1",
                        "displayName": run.last("displayName"),
                        "tags": run.last("tags") or [],
                        "state": "finished" if run.complete else "running",
                        "readOnly": False,
                        "createdAt": "2026-01-01T00:00:00",
                        "historyLineCount": len(run.history),
                        "historyKeys": {"lastStep": len(run.history) - 1, "keys": {}, "sets": []},
                        "user": {"name": ENTITY, "username": ENTITY},
                        **dict.fromkeys(texts, "{}"),
                        **dict.fromkeys(nothing),
                    },
                }
            }


def _put_lines(run: HeldRun, offset: int, lines: list[dict[str, Any]]) -> None:
    run.gaps += offset > len(run.history)
    for number, line in enumerate(lines, offset):
        if number < len(run.history):
            run.changed += repr(sorted(plain(line).items())) != repr(sorted(plain(run.history[number]).items()))
            run.history[number] = line
        else:
            run.history.append(line)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Cut connections are what tests make: nothing is printed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: WandbServer

    def setup(self) -> None:
        super().setup()
        self.owner._connections.add(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_PUT(self) -> None:
        self._body()
        self._serve("upload", dict)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            asked = json.loads(body)
            query, variables = asked["query"], asked.get("variables") or {}
            for name, answer in self._operations().items():
                if f" {name}" in query:
                    self._serve(name, lambda: {"data": answer(variables)})  # noqa: B023 (called at once)
                    return
            self._serve("graphql", lambda: {"data": {}})
        elif self.path.endswith("/file_stream"):
            run_id = self.path.split("/")[-2]

            def take() -> dict[str, Any]:
                self.owner.take_lines(run_id, json.loads(body))
                return {"exitcode": None, "limits": {}}

            self._serve("file_stream", take)
        else:
            self._answer(200, {})  # wandb's telemetry of itself

    def _operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "RunResumeStatus": self.owner.resume_status,
            "UpsertBucket": self.owner.upsert,
            "CreateRunFiles": self._run_files,
            "Viewer": _viewer,
            "GetDefaultEntity": _viewer,
            "ServerInfo": lambda _: {"serverInfo": {"features": []}},
            "Run(": self.owner.described,
        }

    def _run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.owner.url}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "id", "uploadHeaders": [], "files": files}}

    def _serve(self, what: str, take: Callable[[], dict[str, Any]]) -> None:
        fault = self.owner.strike(what)
        if fault is Fault.REFUSED:
            self._answer(500, {"error": "a made-up error"})
            return
        answer = take()
        if fault is Fault.TAKEN_REFUSED:
            self._answer(500, {"error": "a made-up error"})
        elif fault is Fault.TAKEN_DROPPED:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault is Fault.TIMEOUT:
            time.sleep(self.owner.hang_seconds)
            self.close_connection = True
        else:
            self._answer(200, answer)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, code: int, value: dict[str, Any]) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _viewer(_: dict[str, Any]) -> dict[str, Any]:
    teams: dict[str, Any] = {"edges": []}
    user = {"id": "u", "entity": ENTITY, "username": ENTITY, "name": ENTITY, "flags": "{}", "teams": teams}
    return {"viewer": user, "serverInfo": {"features": []}}


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server that listens for the block."""
    server = WandbServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def random_fault() -> Fault:
    """Any of the faults."""
    return random.choice(list(Fault))
