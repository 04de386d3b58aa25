"""One request of a client and its response: passed on as they are, or as a handler has them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from .body import Body, ProtocolError, UntilClose
from .http1 import Answer, Headers, Request, render
from .stream import Hangups, LostError, Stream, collect, flow, pump, together

MAX_REQUEST = 16 * 1024 * 1024  # bytes of a request's body that a handler reads
MAX_RESPONSE = 64 * 1024 * 1024  # bytes of a response's body that a handler reads
HEAD_SECONDS = 1.0  # for a client to read the head of a stream before the stream
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_FRAMING = ("Content-Length", "Transfer-Encoding", "Trailer")
_HOP_BY_HOP = (*_FRAMING, "Connection", "Keep-Alive", "Upgrade")
_VERSIONED = re.compile(r"/v([0-9.]+)(/.*)", re.DOTALL)
_AUTHORITY = re.compile(r"https?://[^/?]*", re.IGNORECASE)

Dial = Callable[[], Awaitable[socket.socket]]


class PassedOn(Exception):  # noqa: N818 (it is no error)
    """The response was too long for a handler: the client has it as it was."""


@dataclass(frozen=True)
class Response:
    """A response as handlers see it: ``body`` whole and without its framing."""

    status: int
    headers: Headers
    body: bytes = b""
    reason: str = ""

    @classmethod
    def json(cls, status: int, value: object) -> Self:
        """``value`` as JSON."""
        return cls(status, Headers([("Content-Type", "application/json")]), json.dumps(value).encode() + b"\n")

    @classmethod
    def error(cls, status: int, message: str) -> Self:
        """An error in Docker's form."""
        return cls.json(status, {"message": message})

    def parsed(self) -> Any:
        """The body's JSON; raise ValueError."""
        return json.loads(self.body)

    def render(self, method: str = "GET", persistent: bool = False) -> bytes:
        """The response to a request by ``method`` as it is sent."""
        reason = self.reason or (HTTPStatus(self.status).phrase if self.status in list(HTTPStatus) else "")
        headers = self.headers.without(*_HOP_BY_HOP)
        length = str(len(self.body))
        if method == "HEAD":
            length = self.headers.get("Content-Length", length)
        if self.status >= 200 and self.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            headers.append(("Content-Length", length))
        headers.append(("Connection", "keep-alive" if persistent else "close"))
        head = render(f"HTTP/1.1 {self.status} {reason}", headers)
        return head if method == "HEAD" else head + self.body


class Link:
    """A client's own connection to the engine: opened when wanted, kept while it can be used again."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._stream: Stream | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Stream]:
        """The connection, idle, and not to be used again after an error. Raise OSError."""
        if not (self._stream and self._stream.idle()):
            self.close()
            self._stream = Stream(await self._dial(), "guest: the engine's connection")
        try:
            yield self._stream
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._stream:
            self._stream.close()
            self._stream = None


class Exchange:
    """A request to be answered, by `answer` or `pass_on`, once.

    ``path`` is without the API's ``version`` ("1.41" or "") and percent-decoded; ``query`` is as it came. ``answered``
    tells that a response has begun. To be made in the task that is to end when the client goes away.
    """

    def __init__(self, request: Request, client: Stream, link: Link, hangups: Hangups) -> None:
        task = asyncio.current_task()
        assert task
        self._request = request
        self.client = client
        self._link = link
        self._hangups = hangups
        self._incoming = request.body()
        self._content: bytes | None = None
        self._more = False
        self.answered = False
        self._end: Callable[[], object] = task.cancel
        self.method = request.method
        self.headers = request.headers
        target, _, self.query = _AUTHORITY.sub("", request.target, count=1).partition("?")
        path = unquote(target.encode("latin-1"))
        versioned = _VERSIONED.fullmatch(path)
        self.version, self.path = versioned.groups() if versioned else ("", path)

    def hung_up(self) -> None:
        """Take note that the client went away."""
        self._end()

    @property
    def persistent(self) -> bool:
        """Whether another request may follow."""
        return self._more and self._request.persistent and self._incoming.complete

    @property
    def params(self) -> dict[str, list[str]]:
        """The query, parsed."""
        return parse_qs(self.query, keep_blank_values=True)

    async def body(self) -> bytes:
        """The request's whole body; raise ProtocolError (413) for one over MAX_REQUEST."""
        if self._content is None:
            if self._request.expects_continue and not self._incoming.complete:
                await self.client.send(CONTINUE)
            content = await collect(self.client, self._incoming, MAX_REQUEST)
            if not self._incoming.complete:
                raise ProtocolError(413, f"host: a body of {self.method} {self.path} has at most {MAX_REQUEST} bytes")
            self._content = bytes(content)
        return self._content

    async def ask(self, body: bytes | None = None, query: str | None = None) -> Response:
        """Have the engine answer the request, with another body or query if given.

        Raise OSError when it does not, and PassedOn for a response over MAX_RESPONSE, which the client got as it is.
        """
        own = await self.body()
        request = self._rewritten(own if body is None else body, query)
        async with self._link.opened() as engine:
            await engine.send(request)
            answer = await self._head_from(engine, passing=False)
            framing = answer.body(self.method)
            content = await collect(engine, framing, MAX_RESPONSE)
            if too_long := not framing.complete:
                self.answered = True
                await self.client.send(answer.raw + framing.rejoin(content))
                await self._finish(engine, answer, framing)
        if not answer.persistent or isinstance(framing, UntilClose):
            self._link.close()
        if too_long:
            raise PassedOn
        return Response(answer.status, answer.headers, bytes(content), answer.reason)

    async def answer(self, response: Response) -> None:
        """Send the client this response."""
        self.answered = self._more = True
        await self.client.send(response.render(self.method, self.persistent))

    async def pass_on(
        self,
        before_answer: Callable[[int], Awaitable[None]] | None = None,
        body: bytes | None = None,
        query: str | None = None,
    ) -> int:
        """Stream the request to the engine and its response to the client; returns its status when all is through.

        ``before_answer(status)`` is awaited before the client gets any of it. Raise OSError when the engine is gone.
        """
        request = self._request.raw
        if body is not None or query is not None or self._content is not None:
            own = await self.body()
            request = self._rewritten(own if body is None else body, query)
        async with self._link.opened() as engine:
            await engine.send(request + self.client.received(self._incoming))
            if self._incoming.complete:
                return await self._download(engine, None, before_answer)
            upload = asyncio.create_task(self._upload(engine))
            download = asyncio.create_task(self._download(engine, upload, before_answer))
            await together(upload, download)
            return download.result()

    async def _upload(self, engine: Stream) -> None:
        """The rest of the request. What the engine does not take, it may still answer."""
        try:
            await pump(self.client, engine, self._incoming)
        except LostError as lost:
            if lost.stream is not engine:
                raise
        else:
            if not self._incoming.complete:
                engine.shutdown(socket.SHUT_WR)

    async def _download(
        self,
        engine: Stream,
        upload: asyncio.Task[None] | None,
        before_answer: Callable[[int], Awaitable[None]] | None,
    ) -> int:
        answer = await self._head_from(engine, passing=True)
        framing = answer.body(self.method)
        if before_answer:
            await before_answer(answer.status)
        self.answered = True
        if answer.hijacks(self.method):
            # Docker's SDK for Python reads the stream past a buffer that may have swallowed what came with the head.
            await self.client.send(answer.raw)
            await self.client.taken(HEAD_SECONDS)
            await self._tunnel(engine, upload)
        else:
            await self.client.send(answer.raw + engine.received(framing))
            await self._finish(engine, answer, framing)
            if upload and not self._more:
                upload.cancel()
        return answer.status

    async def _head_from(self, engine: Stream, passing: bool) -> Answer:
        while raw := await engine.read_head(HTTPStatus.BAD_GATEWAY):
            answer = Answer.parse(raw)
            if not answer.interim:
                return answer
            if passing:
                await self.client.send(raw)
        raise LostError(engine, "closed before it answered")

    async def _finish(self, engine: Stream, answer: Answer, framing: Body) -> None:
        await pump(engine, self.client, framing)
        framing.end()
        self._more = answer.persistent and not isinstance(framing, UntilClose)

    async def _tunnel(self, engine: Stream, upload: asyncio.Task[None] | None) -> None:
        async def rise() -> None:
            if upload:
                await asyncio.wait([upload])
            await flow(self.client, engine)

        up, down = asyncio.create_task(rise()), asyncio.create_task(flow(engine, self.client))
        self._end = lambda: up.add_done_callback(lambda _: down.cancel())
        with self._hangups.watching(engine, lambda: down.add_done_callback(lambda _: up.cancel())):
            await together(up, down)

    def _rewritten(self, content: bytes, query: str | None) -> bytes:
        target = self._request.target
        if query is not None:
            target = f"{target.partition('?')[0]}?{query}".removesuffix("?")
        headers = self.headers.without(*_FRAMING, "Expect")
        if content or self.method not in ("GET", "HEAD"):
            headers.append(("Content-Length", str(len(content))))
        return render(f"{self.method} {target} {self._request.version}", headers) + content


Handler = Callable[[Exchange], Awaitable[None]]
Route = Callable[[str, str], Handler | None]
