"""Which address answers what. All pages are one file; the browser fills it with data from /api."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hlbgpt_core.errors import HlbqError
from orchestrator.comparison.measuring.groups import SWEEP
from orchestrator.dashboard import answers, control
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.log_tail import LogTail, read_log_tail
from orchestrator.dashboard.metric_names import read_metric, read_weight
from orchestrator.dashboard.run_values import run_values
from orchestrator.dashboard.serving.security import Access, Guard
from orchestrator.dashboard.side_by_side import side_by_side
from orchestrator.dashboard.watching.feed import Feed
from orchestrator.dashboard.watching.messages import encoded, problem_words
from orchestrator.dashboard.watching.pages import LONGEST_NUMBER, Sweeps, read_sweeps, topic_of
from orchestrator.dashboard.watching.run_readings import SAME_SETTINGS, CurveQuestion
from orchestrator.dashboard.watching.sweep_curves import MOST_ARMS, SweepCurves
from orchestrator.dashboard.watching.sweep_watch import SweepWatch, plain_number
from orchestrator.errors import DatabaseError, NotThereError, UsageError
from orchestrator.export.metric_names import Axis, parse_x
from orchestrator.plots.drawing.style import axis_label
from orchestrator.store import Store
from orchestrator.store.known import known_run
from orchestrator.sweep.options import setting_name

STATIC = Path(__file__).with_name("static")
PAGES = ("/", "/runs/{number:int}", "/workers", "/compare")
MOST_BODY_BYTES = 1_000_000
LONGEST_BROWSER_NAME = 64
COMPRESSION_LEVEL = 5  # 9 takes three times as long, for 3 % less
Handler = Callable[[Request], Awaitable[Response]]
Read = Callable[[Store, Request], Any]


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What the addresses answer with. `actor` is the user who changes runs, for the events."""

    database: Database
    feed: Feed
    actor: str
    state_dir: str | None = None

    def app(self, access: Access) -> Starlette:
        """The application, guarded by `access`."""
        routes = [Route(path, page, methods=["GET"]) for path in PAGES]
        routes.append(Route("/sweeps/{numbers}", sweeps_page, methods=["GET"]))
        gets: Mapping[str, Handler] = {
            "about": self._about,
            "overview": self._overview,
            "sweeps/{numbers}": self._sweep,
            "stream/{topic:path}": self._stream,
            **{path: self._reading(read) for path, read in self._reads().items()},
        }
        posts = {"control": self._change, "control/count": self._count, "labels": self._label}
        for method, handlers in (("GET", gets), ("POST", posts)):
            routes += [Route(f"/api/{path}", self._answering(own), methods=[method]) for path, own in handlers.items()]
        app = Starlette(
            routes=[*routes, Mount("/static", StaticFiles(directory=STATIC))],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _refusal, Exception: _failed},
        )
        # A redirect would name this server, not the proxy before it.
        app.router.redirect_slashes = False
        app.add_middleware(GZipMiddleware, compresslevel=COMPRESSION_LEVEL)
        app.add_middleware(Guard, access=access)
        return app

    def _reads(self) -> Mapping[str, Read]:
        def devices(store: Store, request: Request) -> Any:
            return answers.devices_over_time(store, request.path_params.get("number"))

        return {
            "workers": lambda store, request: answers.workers(store),
            "devices": devices,
            "sweeps/{numbers}/curves": self._sweep_curves,
            "sweeps/{numbers}/seeds": self._sweep_seeds,
            "sweeps/{numbers}/finals": _sweep_finals,
            "sweeps/{numbers}/comparison": _comparison,
            "compare": _compare,
            "runs/{number:int}": lambda store, request: answers.run_page(store, request.path_params["number"]),
            "runs/{number:int}/curves": _run_curves,
            "runs/{number:int}/log": self._run_log,
            "runs/{number:int}/devices": devices,
        }

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        refreshing = asyncio.create_task(self.feed.run())
        yield
        self.feed.close()
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing

    async def _about(self, request: Request) -> Response:
        axes = {axis: axis_label(axis) for axis in Axis}
        read_only = bool(self.database.why_read_only)
        place = {"database": self.database.display, "option": self.database.option}
        return _json({**place, "read_only": read_only, "axes": axes})

    async def _overview(self, request: Request) -> Response:
        return _json(await run_in_threadpool(self.feed.pages.overview))

    async def _sweep(self, request: Request) -> Response:
        content = await run_in_threadpool(self.feed.pages.sweep, _sweeps(request))
        return Response(content, media_type="application/json")

    def _sweep_curves(self, store: Store, request: Request) -> Any:
        since, best = _number(request, "since", 0), _number(request, "best", MOST_ARMS)
        watch, curves = self._curves(store, request)
        arms = _arms(request, list(watch.arms))
        return curves.means(store, watch, arms=arms, since=since, best=min(max(best, 0), MOST_ARMS))

    def _sweep_seeds(self, store: Store, request: Request) -> Any:
        watch, curves = self._curves(store, request)
        return curves.seeds(store, watch, arms=_arms(request, list(watch.arms))[:MOST_ARMS])

    def _curves(self, store: Store, request: Request) -> tuple[SweepWatch, SweepCurves]:
        asked, sweeps = request.query_params, _sweeps(request)
        by = asked.get("by", "")
        question = CurveQuestion(
            metric=read_metric(store, sweeps, asked.get("metric", "val_loss")),
            x=parse_x(asked.get("x", "steps"), lambda name: read_metric(store, sweeps, name)),
            smooth=read_weight(asked.get("smooth", "0")),
            by=by if by in ("", SWEEP, SAME_SETTINGS) else setting_name(by),
        )
        if by and "arms" in asked:  # lines over several arms are other lines where some of these are left out
            known = [arm.id for sweep_id in sweeps for arm in store.arms(sweep_id)]
            question = replace(question, arms=tuple(_arms(request, known)))
        return self.feed.pages.curves(sweeps, question)

    def _run_log(self, store: Store, request: Request) -> Any:
        attempts = store.attempts(known_run(store, request.path_params["number"]).id)
        if not attempts:
            return vars(LogTail(problem="the run has not been started yet"))
        return vars(read_log_tail(self.database.names, self.state_dir, attempts[-1]))

    async def _stream(self, request: Request) -> Response:
        topic = request.path_params["topic"]
        kind, _, number = topic.partition("/")
        numbered = kind == "run" and number.isdecimal() and len(number) < LONGEST_NUMBER
        if kind == "sweep":
            topic = topic_of(read_sweeps(number))
        elif not numbered and topic not in ("overview", "workers"):
            raise HTTPException(404, "there is no such stream")
        asked = request.query_params
        since, browser = _number(request, "since", 0), asked.get("browser", "")[:LONGEST_BROWSER_NAME]
        messages = self.feed.stream(topic, asked.get("epoch", ""), since, browser)
        return StreamingResponse(messages, media_type="text/event-stream")

    async def _count(self, request: Request) -> Response:
        change = control.read_change(await _body(request))
        return await self._reading(lambda store, request: {"count": control.count(store, change)})(request)

    async def _change(self, request: Request) -> Response:
        self._check_may_change()
        change = control.read_change(await _body(request))
        return await self._changing(lambda store: {"changed": control.apply(store, change, self.actor)})

    async def _label(self, request: Request) -> Response:
        self._check_may_change()
        labels = control.read_labels(await _body(request))
        return await self._changing(lambda store: control.write_labels(store, labels, self.actor))

    def _check_may_change(self) -> None:
        if self.database.why_read_only:
            raise HTTPException(403, f"this dashboard is read-only: {self.database.why_read_only}")

    async def _changing(self, change: Callable[[Store], Any]) -> Response:
        def apply() -> Any:
            with self.database.changing() as store:
                return change(store)

        return _json(await run_in_threadpool(apply))

    def _answering(self, handler: Handler) -> Handler:
        """`handler` with the project's errors as answers."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except HlbqError as error:
                status = 503 if isinstance(error, DatabaseError) else 404 if isinstance(error, NotThereError) else 400
                return _json(problem_words(error, self.database.option), status=status)

        return answer

    def _reading(self, read: Read) -> Handler:
        async def handler(request: Request) -> Response:
            def reading() -> Any:
                with self.database.reading() as store:
                    return encoded(read(store, request))

            return Response(await run_in_threadpool(reading), media_type="application/json")

        return handler


def _sweep_finals(store: Store, request: Request) -> Any:
    sweeps, asked = _sweeps(request), request.query_params
    metric = read_metric(store, sweeps, asked.get("metric", "val_loss"))
    found = run_values(store, sweeps, metric, asked.get("moment", "last"), _number(request, "step", 0))
    return {"values": [[run, plain_number(value)] for run, value in found.items()]}


def _comparison(store: Store, request: Request) -> Any:
    asked, metric = request.query_params, request.query_params.get("metric", "val_loss")
    return answers.comparison_words(store, _sweeps(request), metric, asked.getlist("baseline"), asked.getlist("by"))


def _compare(store: Store, request: Request) -> Any:
    return side_by_side(store, list(dict.fromkeys(_numbers(request.query_params.get("runs", "")))))


def _run_curves(store: Store, request: Request) -> Any:
    asked, weight = request.query_params, read_weight(request.query_params.get("smooth", "0"))
    return answers.run_curves(store, request.path_params["number"], asked.get("x", "steps"), weight)


def _json(value: Any, status: int = 200) -> Response:
    return Response(encoded(value), status_code=status, media_type="application/json")


async def page(request: Request, status: int = 200) -> Response:
    """The one page that all addresses for people show; it reads its own address.

    Its addresses are relative, so that it works behind a proxy that takes a prefix away. It names its modules, so that
    they are asked for at once and not one after the other.
    """
    up = "../" * (request.url.path.count("/") - 1) or "./"
    names = sorted(path.name for path in (STATIC / "js").glob("*.js"))
    modules = "".join(f'<link rel="modulepreload" href="{{up}}static/js/{name}" />' for name in names)
    text = (STATIC / "index.html").read_text(encoding="utf-8").replace("{modules}", modules)
    return HTMLResponse(text.replace("{up}", up), status)


async def sweeps_page(request: Request) -> Response:
    """The page of a sweep, or of several such as `3,5`."""
    try:
        _sweeps(request)
    except NotThereError:
        return await page(request, HTTPStatus.NOT_FOUND)
    return await page(request)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    is_for_people = request.method == "GET" and not request.url.path.startswith(("/api/", "/static/"))
    if error.status_code == HTTPStatus.NOT_FOUND and is_for_people:
        return await page(request, HTTPStatus.NOT_FOUND)
    return _json({"error": error.detail}, status=error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    return _json({"error": f"the dashboard failed: {type(error).__name__}"}, status=500)


async def _body(request: Request) -> Any:
    """The JSON of a request. Raises HTTPException if it is not JSON, or too long."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MOST_BODY_BYTES:
            raise HTTPException(413, "too long")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise HTTPException(400, "that is not JSON") from None


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.removeprefix("-").isdecimal() and len(text) < 19):
        raise UsageError(f"{name} '{text}' is not a whole number")
    return int(text)


def _sweeps(request: Request) -> Sweeps:
    return read_sweeps(request.path_params["numbers"])


def _arms(request: Request, known: Sequence[int]) -> Sequence[int]:
    """The arms that the request names, else all of the sweep."""
    named = request.query_params.get("arms")
    if named is None:
        return known
    wanted = set(_numbers(named))
    return [arm for arm in known if arm in wanted]


def _numbers(text: str) -> list[int]:
    """The numbers of a list such as `3,12`; what is none is left out."""
    return [int(one) for one in text.split(",") if one.isdecimal() and len(one) < 19]
