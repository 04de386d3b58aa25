"""The engine's API on unix sockets of the host: each request is passed on, or given to the handler for its path."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Coroutine
from http import HTTPStatus

from ...http.body import ProtocolError
from ...http.budget import Hold
from ...http.message_streams import LostError, Stream, dial_unix
from ...http.messages import RequestHead
from ...http.response import Response
from .exchange import Dial, EngineConnection, Exchange, Limits, PassedOn, Route, Shared
from .seldom_log import SeldomLog

__all__ = ["Proxy", "dial_unix"]

_LISTENER_GONE = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

log = logging.getLogger(__name__)


class _AbortedError(Exception):
    """A response that has begun cannot be completed: the connection is closed, so that the client notices."""


class Proxy:
    """Serves clients, each with its own connection to the engine, which is closed when the client goes away.

    ``dial`` connects to the engine; the text of its OSError becomes the client's error message. All listeners share
    ``limits``.
    """

    def __init__(self, dial: Dial, limits: Limits | None = None) -> None:
        self._dial = dial
        self._limits = limits or Limits()
        self._shared = Shared(self._limits)
        self._failures = SeldomLog(log)
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, listener: socket.socket, route: Route) -> None:
        """Serve the clients of a listening unix socket until `close`; the caller closes the socket.

        ``route(method, path)`` returns a request's handler, or None to pass the request on unchanged.
        """
        listener.setblocking(False)
        self._start(self._accept(listener, route))

    async def close(self) -> None:
        """Stop serving and close every client's connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._shared.hangups.close()

    def _start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket, route: Route) -> None:
        slots = asyncio.Semaphore(self._limits.clients)
        while True:
            await slots.acquire()
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:
                log.warning("host: cannot accept on %s: %s", listener, error)
                if error.errno in _LISTENER_GONE:
                    return
                slots.release()
                await asyncio.sleep(self._limits.retry_seconds)
            else:
                self._start(self._serve(client, route)).add_done_callback(lambda _: slots.release())

    async def _serve(self, sock: socket.socket, route: Route) -> None:
        client = Stream(sock, "host: the client", Hold(self._shared.buffers))
        engine = EngineConnection(self._dial, self._shared.buffers)
        try:
            while await self._exchange(client, engine, route):
                pass
            engine.close()
            await client.linger(self._limits.linger_seconds)
        except (LostError, _AbortedError) as error:
            log.debug("%s", error)
        except asyncio.CancelledError:
            pass  # the client went away; a cancelled task would keep the exception, and with it all that was received
        except Exception:
            self._failures.exception("host: a client's connection failed")
        finally:
            engine.close()
            client.close()

    async def _exchange(self, client: Stream, engine: EngineConnection, route: Route) -> bool:
        """Serve one request; return whether another may follow."""
        with self._shared.memory.hold() as hold:
            try:
                raw = await client.read_head(
                    HTTPStatus.BAD_REQUEST, self._limits.head_seconds, lambda count: hold.take("a long head", count)
                )
                if raw is None:
                    return False
                exchange = Exchange(RequestHead.parse(raw), client, engine, self._shared, hold)
            except ProtocolError as error:
                text = str(error).removeprefix("host: ")
                await client.send(Response.error(error.status, f"host: {text}").render())
                return False
            try:
                with self._shared.hangups.watch(client, exchange.hung_up):
                    refusal = await self._handle(exchange, route)
                    if refusal and exchange.answered:
                        raise _AbortedError(f"{exchange.method} {exchange.path}: response aborted")
                    if refusal:
                        await exchange.answer(refusal)
                return exchange.persistent
            finally:
                exchange.close()

    async def _handle(self, exchange: Exchange, route: Route) -> Response | None:
        """Answer the exchange; return an error response if that failed."""
        try:
            handler = route(exchange.method, exchange.path)
            await (handler(exchange) if handler else exchange.pass_on())
            if exchange.answered:
                return None
            raise RuntimeError(f"{handler} gave no answer")
        except PassedOn:
            return None
        except ProtocolError as error:
            return Response.error(error.status, str(error))
        except OSError as error:
            return Response.error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except Exception as error:
            self._failures.exception("host: %s %.200s failed", exchange.method, exchange.path)
            return Response.error(HTTPStatus.INTERNAL_SERVER_ERROR, f"host: {error!r}")
