"""One request of a client and its response: passed on unchanged, or rewritten by a handler."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from ...http import json_text
from ...http.body import Body, ProtocolError, UntilClose
from ...http.budget import ByteBudget, Hold
from ...http.message_streams import Hangups, LostError, Stream, collect, flow, pump, run_together
from ...http.messages import RequestHead, ResponseHead, render
from ...http.response import FRAMING, Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

MAX_PATH = 16 * 1024  # bytes of a path, as it is sent
MAX_PARAMETERS = 1000  # of a query
COPIES = 4  # of a body that is read whole: as it came, parsed, changed, and as it is sent

_VERSIONED = re.compile(r"/v([0-9.]+)(/.*)", re.DOTALL)
_AUTHORITY = re.compile(r"https?://[^/?]*", re.IGNORECASE)

Dial = Callable[[], Awaitable[socket.socket]]


@dataclass(frozen=True)
class Limits:
    """What clients may take.

    ``clients`` are those of one listener, with two descriptors each, so that clients of others are not kept out;
    ``retry_seconds`` pass between attempts to accept while descriptors or memory are short. A request's head has to
    come within ``head_seconds``. A handler reads a ``request_body`` and a ``response_body`` of at most so many bytes.

    Each exchange has ``memory_each`` bytes for its head and for the bodies that are read whole, all of them share
    ``memory_shared`` more, and the large buffers of all connections share ``buffers``. A body that is read whole, and
    whoever reads what such a body became, has ``body_seconds`` for each 64 KiB (256 KiB for the latter); what is
    passed on as it comes has all the time.

    A client has ``read_seconds`` to read the head of a response before its hijacked stream begins, and
    ``linger_seconds`` to read the last response.
    """

    clients: int = 1024
    retry_seconds: float = 0.5
    head_seconds: float = 30.0
    request_body: int = json_text.MAX_BYTES
    response_body: int = json_text.MAX_BYTES
    memory_each: int = 64 * 1024
    memory_shared: int = 256 * 1024 * 1024
    buffers: int = 64 * 1024 * 1024
    body_seconds: float = 30.0
    read_seconds: float = 1.0
    linger_seconds: float = 1.0


class Shared:
    """What all exchanges of one proxy share."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.hangups = Hangups()
        self.memory = ByteBudget(limits.memory_each, limits.memory_shared)
        self.buffers = ByteBudget(0, limits.buffers)


class PassedOn(Exception):  # noqa: N818 (it is no error)
    """The response was too long for a handler, so the client received it unchanged."""


class EngineConnection:
    """A client's own connection to the engine: opened on demand and kept while it can be reused."""

    def __init__(self, dial: Dial, buffers: ByteBudget) -> None:
        self._dial = dial
        self._buffers = buffers
        self._stream: Stream | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Stream]:
        """Yield an idle connection, which is closed after an error. Raise OSError."""
        if not (self._stream and self._stream.idle()):
            self.close()
            self._stream = Stream(await self._dial(), "guest: the engine's connection", Hold(self._buffers))
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
    """A request that is answered once, by `answer` or `pass_on`.

    ``path`` is percent-decoded and without the API's ``version`` ("1.41" or ""); ``query`` is unchanged. ``answered``
    tells that a response has begun. ``hold`` is its part of the memory of all exchanges. Create it in the task that is
    to be cancelled when the client goes away.
    """

    def __init__(
        self,
        request: RequestHead,
        client: Stream,
        connection: EngineConnection,
        shared: Shared,
        hold: Hold,
    ) -> None:
        task = asyncio.current_task()
        assert task
        self._request = request
        self.client = client
        self._connection = connection
        self._hangups = shared.hangups
        self._limits = shared.limits
        self._hold = hold
        self._incoming = request.body()
        self._content: bytes | None = None
        self._reusable = False
        self.answered = False
        self._on_hangup: Callable[[], object] | None = task.cancel
        self.method = request.method
        self.headers = request.headers
        target, _, self.query = _AUTHORITY.sub("", request.target, count=1).partition("?")
        if len(target) > MAX_PATH:
            raise ProtocolError(414, f"a path has at most {MAX_PATH} bytes")
        path = unquote(target.encode("latin-1"))
        versioned = _VERSIONED.fullmatch(path)
        self.version, self.path = versioned.groups() if versioned else ("", path)

    def hung_up(self) -> None:
        """End the exchange because the client went away."""
        if self._on_hangup:
            self._on_hangup()

    def close(self) -> None:
        """Drop the request's body and the task: the task's last exception may keep the exchange in memory."""
        self._content, self._on_hangup = None, None

    @property
    def persistent(self) -> bool:
        """Whether the client may send another request on its connection."""
        return self._reusable and self._request.persistent and self._incoming.complete

    @property
    def params(self) -> dict[str, list[str]]:
        """The query, parsed; raise ProtocolError for one of too many parameters."""
        try:
            return parse_qs(self.query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            raise ProtocolError(400, f"host: {self.method} {self.path}: {error}") from None

    async def body(self) -> bytes:
        """Read the request's whole body; raise ProtocolError for one over its limit (413) or too slow (408)."""
        if self._content is None:
            if self._request.expects_continue and not self._incoming.complete:
                await self.client.send(CONTINUE)
            content = await self._collect(self.client, self._incoming, self._limits.request_body, "the request's body")
            if not self._incoming.complete:
                text = f"the body of {self.method} {self.path} may have at most {self._limits.request_body} bytes"
                raise ProtocolError(413, f"host: {text}")
            self._content = bytes(content)
        return self._content

    async def _collect(self, source: Stream, body: Body, limit: int, use: str) -> bytearray:
        """Read a body, within its budget and its time; raise ProtocolError."""
        seconds = self._limits.body_seconds
        try:
            return await collect(source, body, limit, lambda count: self._hold.take(use, COPIES * count), seconds)
        except TimeoutError:
            status = HTTPStatus.REQUEST_TIMEOUT if source is self.client else HTTPStatus.GATEWAY_TIMEOUT
            text = f"{source.name}: {use} of {self.method} {self.path} does not go on for {seconds:g} s"
            raise ProtocolError(status, text) from None

    def parse(self, body: bytes) -> Any:
        """Parse a body of this exchange as JSON; raise ValueError, or ProtocolError if memory is short."""
        self._hold.take("a parsed document", json_text.VALUE_BYTES * json_text.count_values(body))
        return json_text.parse(body)

    async def ask(self, body: bytes | None = None, query: str | None = None) -> Response:
        """Send the request to the engine, with another body or query if given, and return its response.

        Raise OSError if there is none, and PassedOn for a response over its limit, which is sent to the client.
        """
        original = await self.body()
        request = self._rewritten(original if body is None else body, query)
        async with self._connection.opened() as engine:
            await engine.send_held(request, self._limits.body_seconds)
            answer = await self._head_from(engine, passing=False)
            framing = answer.body(self.method)
            content = await self._collect(engine, framing, self._limits.response_body, "the answer's body")
            if too_long := not framing.complete:
                self.answered = True
                await self.client.send_held(answer.raw + framing.rejoin(content), self._limits.body_seconds)
                content.clear()
                self._hold.take("the answer's body", 0)
                await self._finish(engine, answer, framing)
        if not answer.persistent or isinstance(framing, UntilClose):
            self._connection.close()
        if too_long:
            raise PassedOn
        return Response(answer.status, answer.headers, bytes(content), answer.reason)

    async def answer(self, response: Response) -> None:
        """Send the client this response."""
        self.answered = self._reusable = True
        await self.client.send_held(response.render(self.method, self.persistent), self._limits.body_seconds)

    async def pass_on(
        self,
        before_answer: Callable[[int], Awaitable[None]] | None = None,
        before_body: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Stream the request to the engine and its response to the client; return the status once both are complete.

        ``before_answer(status)`` is awaited before anything is sent to the client, ``before_body`` once the engine has
        sent some of the body and before that is sent on. Raise OSError if the engine is gone.
        """
        request = self._request.raw
        if self._content is not None:
            request = self._rewritten(self._content, None)
        async with self._connection.opened() as engine:
            await engine.send_held(request, self._limits.body_seconds)
            await engine.send(self.client.take_received(self._incoming))
            if self._incoming.complete:
                return await self._download(engine, None, before_answer, before_body)
            upload = asyncio.create_task(self._upload(engine))
            download = asyncio.create_task(self._download(engine, upload, before_answer, before_body))
            await run_together(upload, download)
            return download.result()

    async def _upload(self, engine: Stream) -> None:
        """Send the rest of the request. The engine may answer without reading all of it."""
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
        before_body: Callable[[], Awaitable[None]] | None,
    ) -> int:
        answer = await self._head_from(engine, passing=True)
        framing = answer.body(self.method)
        if before_answer:
            await before_answer(answer.status)
        self.answered = True
        if answer.hijacks(self.method):
            # Docker's SDK for Python reads the stream past a buffer that may have swallowed what came with the head.
            await self.client.send(answer.raw)
            await self.client.wait_until_read(self._limits.read_seconds)
            await self._tunnel(engine, upload)
        else:
            head = answer.raw
            if before_body and not framing.complete:
                await self.client.send(head)
                head = b""
                await engine.peek()
                await before_body()
            await self.client.send(head + engine.take_received(framing))
            await self._finish(engine, answer, framing)
            if upload and not self._reusable:
                upload.cancel()
        return answer.status

    async def _head_from(self, engine: Stream, passing: bool) -> ResponseHead:
        while raw := await engine.read_head(HTTPStatus.BAD_GATEWAY):
            answer = ResponseHead.parse(raw)
            if not answer.interim:
                return answer
            if passing:
                await self.client.send(raw)
        raise LostError(engine, "closed before it answered")

    async def _finish(self, engine: Stream, answer: ResponseHead, framing: Body) -> None:
        await pump(engine, self.client, framing)
        framing.end()
        self._reusable = answer.persistent and not isinstance(framing, UntilClose)

    async def _tunnel(self, engine: Stream, upload: asyncio.Task[None] | None) -> None:
        """Carry a hijacked connection in both directions until both have ended or one side goes away."""

        async def send_up() -> None:
            if upload:
                await asyncio.wait([upload])
            await flow(self.client, engine)

        up, down = asyncio.create_task(send_up()), asyncio.create_task(flow(engine, self.client))
        self._on_hangup = lambda: up.add_done_callback(lambda _: down.cancel())
        with self._hangups.watch(engine, lambda: down.add_done_callback(lambda _: up.cancel())):
            await run_together(up, down)

    def _rewritten(self, content: bytes, query: str | None) -> bytes:
        """Return the request with another body, and another query if given."""
        target = self._request.target
        if query is not None:
            target = f"{target.partition('?')[0]}?{query}".removesuffix("?")
        headers = self.headers.without(*FRAMING, "Expect")
        if content or self.method not in ("GET", "HEAD"):
            headers.append(("Content-Length", str(len(content))))
        return render(f"{self.method} {target} {self._request.version}", headers) + content


Handler = Callable[[Exchange], Awaitable[None]]
Route = Callable[[str, str], Handler | None]
