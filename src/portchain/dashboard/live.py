"""The running dashboard of a guest: it collects pictures and serves them at 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..trace.collect.evidence_session import Session
from ..trace.model import Host, Machine
from ..trace.tracing import trace_machine
from .actions import Actions
from .app import Dashboard
from .guard import Guard
from .page_changes import Picture
from .view import LivePage
from .watch import PictureSource, Watch

MAX_CONNECTIONS = 64
MAX_HEAD = 1 << 14  # bytes
END_SECONDS = 20  # for shells to be ended

OnStarted = Callable[[Callable[[], None]], Any]


def picture_source(guest: str, threads: ThreadPoolExecutor, session: Session) -> PictureSource:
    """Return what collects pictures of a guest, in a thread of its own, one after the other."""
    view = LivePage()

    def draw() -> Picture:
        try:
            return view.draw(*trace_machine(session))
        except Exception as error:  # whatever a guest tells, the dashboard goes on and says what is wrong
            session.close()
            return view.draw(Machine(Host(guest, "unknown", None), None, f"{type(error).__name__}: {error}"), ())

    async def collect_picture() -> Picture:
        return await asyncio.get_running_loop().run_in_executor(threads, draw)

    return collect_picture


class Connection(H11Protocol):
    """A client's connection, closed when idle for long; not logged, for its requests have secrets."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to check for idleness."""
        self.access_log = False
        super().connection_made(transport)
        self._check(None)

    def _check(self, previous: object) -> None:
        """Close the connection if nothing is under way, nor was at the check before."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and previous == (self.cycle, idle):
            self.transport.close()
        else:
            self.loop.call_later(self.timeout_keep_alive, self._check, (self.cycle, idle))


class Server(uvicorn.Server):
    """A server that ends at SIGINT and SIGTERM, open streams included."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals in the event loop, and do not raise them again."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in numbers:
                loop.add_signal_handler(number, self.stop)
        yield

    def stop(self) -> None:
        """Ask the server to end."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all streams, then shut down as uvicorn does."""
        self._closing.set()
        await super().shutdown(sockets)


async def serve(
    listener: socket.socket, guard: Guard, dashboard: Dashboard, on_started: OnStarted = lambda _: None
) -> None:
    """Serve on a listening socket until a signal comes, or the stop that ``on_started`` gets is called."""
    config = uvicorn.Config(
        dashboard.app(guard),
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=dashboard.timeouts.idle,  # type: ignore[arg-type]  # need not be whole seconds
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = Server(config, dashboard.closing)
    on_started(server.stop)
    watching = asyncio.create_task(dashboard.watch.run())
    watching.add_done_callback(lambda _: server.stop())
    try:
        await server.serve([listener])
    finally:
        watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def bind(port: int) -> socket.socket:
    """Listen on the host's loopback alone; raise OSError."""
    return socket.create_server(("127.0.0.1", port), backlog=MAX_CONNECTIONS)


def run(guest: str, listener: socket.socket, guard: Guard) -> None:
    """Serve the dashboard of a guest until a signal comes."""
    with listener, Session(guest) as session, ThreadPoolExecutor(1, "look") as threads:
        asyncio.run(_run(guest, listener, guard, picture_source(guest, threads, session)))


async def _run(guest: str, listener: socket.socket, guard: Guard, source: PictureSource) -> None:
    await serve(listener, guard, Dashboard(Watch(source), Actions(guest)))
