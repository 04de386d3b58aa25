"""The dashboard's HTTP side: routes, and the guard before all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..chain.draw import page
from .actions import Actions
from .guard import HEADERS, Asked, Entry, Guard, Refused
from .programs import Program, ProgramError
from .running import Running
from .streamed import Streamed
from .terminal import Size, Terminal
from .watch import FullError, Watch

MAX_BODY = 1 << 16  # bytes
BODY_SECONDS = 10.0
FIRST_SECONDS = 15.0
_HEAD = """<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="page.css">
<link rel="stylesheet" href="live.css">
<link rel="stylesheet" href="terminal.css">
<script type="module" src="page.js"></script>
<script type="module" src="live.js"></script>"""

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Handler = Callable[[Request], Awaitable[Response]]


class Dashboard:
    """What the routes do. Set ``closing``, and every stream ends."""

    def __init__(self, watch: Watch, actions: Actions) -> None:
        self._watch = watch
        self._actions = actions
        self._running = Running()
        self.closing = asyncio.Event()

    def app(self, guard: Guard) -> ASGIApp:
        """The application behind its guard."""
        routes = [
            Route("/", self.page),
            *(Route(f"/{name}", _asset(text, kind)) for name, text, kind in _assets()),
            Route("/events", self.events),
            Route("/containers/{name}/logs", self.container_log, methods=["POST"]),
            Route("/containers/{name}/shell", self.container_shell, methods=["POST"]),
            Route("/containers/{name}/{action}", self.container, methods=["POST"]),
            Route("/services/{name}/logs", self.service_log, methods=["POST"]),
            Route("/services/{name}/shell", self.service_shell, methods=["POST"]),
            Route("/services/{name}/restart", self.service, methods=["POST"]),
            Route("/programs/{number}", self.typed, methods=["POST"]),
            Route("/programs/{number}/size", self.resized, methods=["POST"]),
        ]
        told = {ProgramError: _told(HTTPStatus.BAD_GATEWAY), FullError: _told(HTTPStatus.SERVICE_UNAVAILABLE)}
        return Guarded(Starlette(routes=routes, exception_handlers={**told, HTTPException: _http_error}), guard)

    async def page(self, _request: Request) -> Response:
        """The whole page."""
        picture = await self._watch.first(FIRST_SECONDS)
        return Response(picture.page(_HEAD), media_type="text/html; charset=utf-8")

    async def events(self, _request: Request) -> Response:
        """What changes, as server-sent events."""
        watching = contextlib.ExitStack()
        watching.enter_context(self._watch.watched())

        async def leave() -> None:
            watching.close()

        return Streamed(self._watch.events(), "text/event-stream", leave, self.closing)

    async def container(self, request: Request) -> Response:
        """Start, stop, restart or unpause a container."""
        await self._actions.container(request.path_params["name"], request.path_params["action"])
        self._watch.hurry()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def service(self, request: Request) -> Response:
        """Restart a service."""
        await self._actions.restart_service(request.path_params["name"])
        self._watch.hurry()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def container_log(self, request: Request) -> Response:
        """Follow a container's log."""
        return await self._stream(lambda: self._actions.container_log(request.path_params["name"]))

    async def service_log(self, request: Request) -> Response:
        """Follow a service's log."""
        return await self._stream(lambda: self._actions.service_log(request.path_params["name"]))

    async def container_shell(self, request: Request) -> Response:
        """A shell in a container."""
        return await self._shell(request, self._actions.container_shell)

    async def service_shell(self, request: Request) -> Response:
        """A shell in a service."""
        return await self._shell(request, self._actions.service_shell)

    async def _shell(self, request: Request, start: Callable[[str, Size], Awaitable[Program]]) -> Response:
        size = _size(await _body(request))
        name = request.path_params["name"]
        return await self._stream(lambda: start(name, size), Terminal(size))

    async def _stream(self, start: Running.Start, terminal: Terminal | None = None) -> Response:
        one = await self._running.start(start, terminal)
        form = "application/x-ndjson" if terminal else "text/plain; charset=utf-8"
        return Streamed(one.told(), form, lambda: self._running.end(one), self.closing, {"X-Program": one.number})

    async def typed(self, request: Request) -> Response:
        """What the user types into a shell."""
        typed = await _body(request)
        await self._running.one(request.path_params["number"]).write(typed)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def resized(self, request: Request) -> Response:
        """How many columns and lines the user sees of a shell."""
        size = _size(await _body(request))
        await self._running.one(request.path_params["number"]).resize(size)
        return Response(status_code=HTTPStatus.NO_CONTENT)


class Guarded:
    """The application behind ``guard``; every response has the headers that keep a browser to it."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        app, scope = self._answer(scope)
        await app(scope, receive, with_headers)

    def _answer(self, scope: Scope) -> tuple[ASGIApp, Scope]:
        request = Request(scope)
        token = parse_qs(request.url.query).get("token", [""])[0] if "token" in request.url.query else ""
        decision = self._guard.decide(Asked(request.method, request.url.path, request.headers, token))
        if isinstance(decision, Refused):
            return JSONResponse({"message": f"host: {decision.why}"}, decision.status), scope
        if isinstance(decision, Entry):
            return _entered(decision, request.headers.get("sec-fetch-site", "none")), scope
        return self._app, {**scope, "path": decision.path, "raw_path": decision.path.encode(), "query_string": b""}


def _entered(entry: Entry, site: str) -> Response:
    """To the page; from another site's link in a second step, since a redirection takes no strict cookie along."""
    if site in ("none", "same-origin"):
        return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": entry.to, "Set-Cookie": entry.cookie})
    return Response("portchain", headers={"Refresh": f"0; url={entry.to}", "Set-Cookie": entry.cookie})


async def _body(request: Request) -> bytes:
    """All of a request's body; raise HTTPException where it is too long or too slow."""
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > MAX_BODY:
                    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes at a time")
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not come") from None
    return bytes(content)


def _size(body: bytes) -> Size:
    try:
        return Size.parse(body)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"a terminal's size: {error}") from None


def _told(status: int) -> Callable[[Request, Exception], Response]:
    return lambda _request, error: JSONResponse({"message": str(error)}, status)


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": f"host: {error.detail}"}, error.status_code)


def _assets() -> Iterator[tuple[str, str, str]]:
    """Name, text and kind of each file that the page needs."""
    own = files(__package__) / "assets"
    yield "page.css", page.style(), "text/css"
    yield "page.js", page.script(), "text/javascript"
    for name in ("live.css", "terminal.css", "live.js", "terminal.js", "icon.svg"):
        yield name, (own / name).read_text(), _KINDS[Path(name).suffix]


def _asset(text: str, kind: str) -> Handler:
    async def answer(_request: Request) -> Response:
        return Response(text, media_type=kind)

    return answer
