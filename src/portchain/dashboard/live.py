"""The running dashboard of a guest: looks at it, and serves what it sees at 127.0.0.1."""

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

from ..chain.look import Session
from ..chain.model import Host, Machine
from ..chain.tracing import trace_machine
from .actions import Actions
from .changes import Picture
from .guard import Guard
from .server import Dashboard
from .view import View
from .watch import Look, Watch

MAX_CONNECTIONS = 64
MAX_HEAD = 1 << 14  # bytes
IDLE_SECONDS = 10.0  # of a connection that asks for nothing
END_SECONDS = 20  # for shells to be ended

Told = Callable[[Callable[[], None]], Any]


def looks(guest: str, threads: ThreadPoolExecutor, session: Session) -> Look:
    """Looks at a guest, in a thread of its own: one after the other, over one connection."""
    view = View()

    def see() -> Picture:
        try:
            return view.draw(*trace_machine(session))
        except Exception as error:  # whatever a guest tells, the dashboard goes on and says what is wrong
            session.close()
            return view.draw(Machine(Host(guest, "unknown", None), None, f"{type(error).__name__}: {error}"), ())

    async def look() -> Picture:
        return await asyncio.get_running_loop().run_in_executor(threads, see)

    return look


class Connection(H11Protocol):
    """A client's connection, closed once it has asked for nothing long enough. What it asks for has secrets: no log."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio's."""
        self.access_log = False
        super().connection_made(transport)
        self._check(None)

    def _check(self, before: object) -> None:
        """Close it where nothing is under way, nor was anything since the check before."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and before == (self.cycle, idle):
            self.transport.close()
        else:
            self.loop.call_later(IDLE_SECONDS, self._check, (self.cycle, idle))


class Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM, streams and all."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals as the loop's own, and do not raise them again."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in numbers:
                loop.add_signal_handler(number, self.stop)
        yield

    def stop(self) -> None:
        """End soon."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, with an end to all streams first."""
        self._closing.set()
        await super().shutdown(sockets)


async def serve(
    listener: socket.socket, guard: Guard, watch: Watch, actions: Actions, told: Told = lambda _: None
) -> None:
    """Serve on a listening socket until a signal comes, or the stop that `told` is given is called."""
    dashboard = Dashboard(watch, actions)
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
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = Server(config, dashboard.closing)
    told(server.stop)
    watching = asyncio.create_task(watch.run())
    watching.add_done_callback(lambda _: server.stop())
    try:
        await server.serve([listener])
    finally:
        watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def bind(port: int) -> socket.socket:
    """A socket that listens on the host's loopback alone; raise OSError."""
    return socket.create_server(("127.0.0.1", port), backlog=MAX_CONNECTIONS)


def run(guest: str, listener: socket.socket, guard: Guard) -> None:
    """Serve the dashboard of a guest until a signal comes."""
    with listener, Session(guest) as session, ThreadPoolExecutor(1, "look") as threads:
        asyncio.run(_run(guest, listener, guard, looks(guest, threads, session)))


async def _run(guest: str, listener: socket.socket, guard: Guard, look: Look) -> None:
    await serve(listener, guard, Watch(look), Actions(guest))
