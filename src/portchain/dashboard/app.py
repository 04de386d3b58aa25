"""The dashboard's HTTP routes, and the guard before all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
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

from ..trace.render import report_page
from .actions import Actions
from .guard import HEADERS, BrowserRequest, Guard, Refusal, SignIn
from .programs import Program, ProgramError
from .running import IDLE_SECONDS, OpenPrograms
from .streamed import Streamed
from .terminal_screen import Size, Terminal
from .watch import FullError, Watch

MAX_BODY = 1 << 16  # bytes
FIRST_SECONDS = 15.0
_HEAD = """<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="page.css">
<link rel="stylesheet" href="live.css">
<link rel="stylesheet" href="terminal.css">
<script type="module" src="page.js"></script>
<script type="module" src="live.js"></script>"""

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Timeouts:
    """Seconds after which a client is left: one that asks nothing, whose body does not come, or whose shell is idle."""

    idle: float = 10.0
    body: float = 10.0
    idle_shell: float = IDLE_SECONDS


class Dashboard:
    """The handlers of the routes; setting ``closing`` ends every stream."""

    def __init__(self, watch: Watch, actions: Actions, timeouts: Timeouts | None = None) -> None:
        self.watch = watch
        self.timeouts = timeouts or Timeouts()
        self._actions = actions
        self._programs = OpenPrograms(self.timeouts.idle_shell)
        self.closing = asyncio.Event()

    def app(self, guard: Guard) -> ASGIApp:
        """Return the application behind its guard."""
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
            Route("/programs/{number}", self.type_into, methods=["POST"]),
            Route("/programs/{number}/size", self.resize, methods=["POST"]),
        ]
        handlers = {
            ProgramError: _error_response(HTTPStatus.BAD_GATEWAY),
            FullError: _error_response(HTTPStatus.SERVICE_UNAVAILABLE),
        }
        return Guarded(Starlette(routes=routes, exception_handlers={**handlers, HTTPException: _http_error}), guard)

    async def page(self, _request: Request) -> Response:
        """Return the whole page."""
        picture = await self.watch.fresh_picture(FIRST_SECONDS)
        return Response(picture.page(_HEAD), media_type="text/html; charset=utf-8")

    async def events(self, _request: Request) -> Response:
        """Stream changes as server-sent events."""
        watching = contextlib.ExitStack()
        watching.enter_context(self.watch.watched())

        async def leave() -> None:
            watching.close()

        return Streamed(self.watch.events(), "text/event-stream", leave, self.closing)

    async def container(self, request: Request) -> Response:
        """Start, stop, restart or unpause a container."""
        await self._actions.container(request.path_params["name"], request.path_params["action"])
        self.watch.refresh()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def service(self, request: Request) -> Response:
        """Restart a service."""
        await self._actions.restart_service(request.path_params["name"])
        self.watch.refresh()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def container_log(self, request: Request) -> Response:
        """Follow a container's log."""
        return await self._stream(lambda: self._actions.container_log(request.path_params["name"]))

    async def service_log(self, request: Request) -> Response:
        """Follow a service's log."""
        return await self._stream(lambda: self._actions.service_log(request.path_params["name"]))

    async def container_shell(self, request: Request) -> Response:
        """Open a shell in a container."""
        return await self._shell(request, self._actions.container_shell)

    async def service_shell(self, request: Request) -> Response:
        """Open a shell in a service."""
        return await self._shell(request, self._actions.service_shell)

    async def _shell(self, request: Request, start: Callable[[str, Size], Awaitable[Program]]) -> Response:
        size = _size(await self._body(request))
        name = request.path_params["name"]
        return await self._stream(lambda: start(name, size), Terminal(size))

    async def _stream(self, start: OpenPrograms.Start, terminal: Terminal | None = None) -> Response:
        program = await self._programs.start(start, terminal)
        media_type = "application/x-ndjson" if terminal else "text/plain; charset=utf-8"
        return Streamed(
            program.updates(),
            media_type,
            lambda: self._programs.end(program),
            self.closing,
            {"X-Program": program.number},
        )

    async def type_into(self, request: Request) -> Response:
        """Pass on what the user types into a shell."""
        keys = await self._body(request)
        await self._programs.get(request.path_params["number"]).write(keys)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def resize(self, request: Request) -> Response:
        """Resize a shell to the columns and lines that the user sees."""
        size = _size(await self._body(request))
        await self._programs.get(request.path_params["number"]).resize(size)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _body(self, request: Request) -> bytes:
        """Return a request's body; raise HTTPException where it is too long or too slow."""
        content = bytearray()
        try:
            async with asyncio.timeout(self.timeouts.body):
                async for piece in request.stream():
                    content += piece
                    if len(content) > MAX_BODY:
                        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes at a time")
        except (TimeoutError, ClientDisconnect):
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the request's body did not come") from None
        return bytes(content)


class Guarded:
    """An application behind ``guard``; every response has the headers that restrict the browser."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request, as an ASGI application."""
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
        decision = self._guard.decide(BrowserRequest(request.method, request.url.path, request.headers, token))
        if isinstance(decision, Refusal):
            return JSONResponse({"message": f"host: {decision.reason}"}, decision.status), scope
        if isinstance(decision, SignIn):
            return _entered(decision, request.headers.get("sec-fetch-site", "none")), scope
        return self._app, {**scope, "path": decision.path, "raw_path": decision.path.encode(), "query_string": b""}


def _entered(sign_in: SignIn, site: str) -> Response:
    """Redirect to the page; from another site's link by a refresh, as redirects do not carry a strict cookie."""
    if site in ("none", "same-origin"):
        return Response(
            status_code=HTTPStatus.SEE_OTHER, headers={"Location": sign_in.location, "Set-Cookie": sign_in.cookie}
        )
    return Response("portchain", headers={"Refresh": f"0; url={sign_in.location}", "Set-Cookie": sign_in.cookie})


def _size(body: bytes) -> Size:
    try:
        return Size.parse(body)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"a terminal's size: {error}") from None


def _error_response(status: int) -> Callable[[Request, Exception], Response]:
    return lambda _request, error: JSONResponse({"message": str(error)}, status)


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": f"host: {error.detail}"}, error.status_code)


def _assets() -> Iterator[tuple[str, str, str]]:
    """Yield name, text and media type of each file that the page needs."""
    own = files(__package__) / "assets"
    yield "page.css", report_page.style(), "text/css"
    yield "page.js", report_page.script(), "text/javascript"
    for name in ("live.css", "terminal.css", "live.js", "terminal.js", "icon.svg"):
        yield name, (own / name).read_text(), _KINDS[Path(name).suffix]


def _asset(text: str, kind: str) -> Handler:
    async def answer(_request: Request) -> Response:
        return Response(text, media_type=kind)

    return answer
