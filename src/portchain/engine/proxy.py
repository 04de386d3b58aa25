"""The engine's API on unix sockets of the host: a request is passed on, or given to the handler that its path has."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Coroutine
from http import HTTPStatus

from .body import ProtocolError
from .exchange import Dial, Exchange, Link, PassedOn, Response, Route
from .http1 import Request
from .stream import Hangups, LostError, Stream, dial_unix

__all__ = ["Proxy", "dial_unix"]

HEAD_SECONDS = 30.0
MAX_CLIENTS = 1024  # of one listener, two descriptors each, so that those of another are not kept out
RETRY_SECONDS = 0.5  # between tries to accept while descriptors or memory are short

_LISTENER_GONE = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

log = logging.getLogger(__name__)


class _AbortedError(Exception):
    """A response that began cannot be brought to its end: the client is to see that."""


class Proxy:
    """Serves clients, each with a connection to the engine of its own, which ends when the client goes away.

    ``dial`` connects to the engine; the text of its OSError is what the client is told. ``route(method, path)`` finds a
    request's handler, None to pass it on as it is.
    """

    def __init__(self, dial: Dial, route: Route) -> None:
        self._dial = dial
        self._route = route
        self._hangups = Hangups()
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, listener: socket.socket) -> None:
        """Serve the clients of this listening unix socket until `close`, MAX_CLIENTS at once while others wait.

        The socket remains the caller's.
        """
        listener.setblocking(False)
        self._start(self._accept(listener))

    async def close(self) -> None:
        """Stop, and end every client's connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._hangups.close()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        places = asyncio.Semaphore(MAX_CLIENTS)
        while True:
            await places.acquire()
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:
                log.warning("host: cannot accept on %s: %s", listener, error)
                if error.errno in _LISTENER_GONE:
                    return
                places.release()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._start(self._serve(client)).add_done_callback(lambda _: places.release())

    async def _serve(self, sock: socket.socket) -> None:
        client, link = Stream(sock, "host: the client"), Link(self._dial)
        try:
            while await self._exchange(client, link):
                pass
            link.close()
            await client.linger()
        except (LostError, _AbortedError) as error:
            log.debug("%s", error)
        except Exception:
            log.exception("host: a client's connection failed")
        finally:
            link.close()
            client.close()

    async def _exchange(self, client: Stream, link: Link) -> bool:
        """Serve one request; returns whether another may follow."""
        try:
            raw = await client.read_head(HTTPStatus.BAD_REQUEST, HEAD_SECONDS)
            if raw is None:
                return False
            exchange = Exchange(Request.parse(raw), client, link, self._hangups)
        except ProtocolError as error:
            await client.send(Response.error(error.status, f"host: {error}").render())
            return False
        with self._hangups.watching(client, exchange.hung_up):
            refusal = await self._handle(exchange)
            if refusal and exchange.answered:
                raise _AbortedError(f"{exchange.method} {exchange.path}: broken off")
            if refusal:
                await exchange.answer(refusal)
        return exchange.persistent

    async def _handle(self, exchange: Exchange) -> Response | None:
        """Have the exchange answered; returns the answer for it that could not be."""
        try:
            handler = self._route(exchange.method, exchange.path)
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
            log.exception("host: %s %s failed", exchange.method, exchange.path)
            return Response.error(HTTPStatus.INTERNAL_SERVER_ERROR, f"host: {error!r}")
