"""A blocking HTTP client for servers on unix sockets; each request has its own connection."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import json_text
from .body import Body, ProtocolError
from .messages import ResponseHead, render, take_head

BLOCK = 1 << 18  # bytes
MAX_RESPONSE = 64 << 20  # bytes of a body that is read whole
MAX_VALUES = 4_000_000  # in its JSON; a list of 65 536 forwards has 900 000


@dataclass(frozen=True)
class Content:
    """A request's body: bytes, or blocks that are streamed; ``kind`` is its media type, or empty."""

    body: bytes | Iterable[bytes]
    kind: str = "application/json"

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the header fields that describe the body."""
        if isinstance(self.body, bytes):
            yield "Content-Length", str(len(self.body))
        else:
            yield "Transfer-Encoding", "chunked"
        if self.kind:
            yield "Content-Type", self.kind

    def blocks(self) -> Iterator[bytes]:
        """Yield the body in blocks, framed as it is sent."""
        if isinstance(self.body, bytes):
            yield self.body
        else:
            for block in filter(None, self.body):
                yield b"%x\r\n%b\r\n" % (len(block), block)
            yield b"0\r\n\r\n"


class Reply:
    """A response whose body has not been read yet; ``status`` and ``reason`` are from its first line."""

    def __init__(self, server: socket.socket, head: ResponseHead, body: Body, received: bytearray) -> None:
        self.status = head.status
        self.reason = head.reason
        self._server = server
        self._body = body
        self._received = received

    def blocks(self) -> Iterator[bytes]:
        """Yield the body in blocks as it arrives. Raise OSError, also for a body that is cut short."""
        data, self._received = bytes(self._received), bytearray()
        try:
            while not self._body.complete:
                data = data or self._server.recv(BLOCK)
                content = bytearray()
                if data:
                    self._body.take(memoryview(data), content)
                else:
                    self._body.end()
                if content:
                    yield bytes(content)
                data = b""
        except ProtocolError as error:
            raise OSError(f"response: {error}") from error

    def read(self) -> bytes:
        """Return the whole body. Raise OSError, also for more than MAX_RESPONSE bytes."""
        content = bytearray()
        for block in self.blocks():
            content += block
            if len(content) > MAX_RESPONSE:
                raise OSError(f"response: more than {MAX_RESPONSE} bytes")
        return bytes(content)

    def json(self) -> Any:
        """Return the whole body, parsed. Raise OSError, ValueError."""
        return parse_json(self.read())

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines as they arrive. Raise OSError, also for a line of more than MAX_RESPONSE bytes."""
        incomplete = bytearray()
        for block in self.blocks():
            incomplete += block
            if b"\n" in block:
                *complete, rest = bytes(incomplete).split(b"\n")
                yield from complete
                incomplete = bytearray(rest)
            if len(incomplete) > MAX_RESPONSE:
                raise OSError(f"response: a line of more than {MAX_RESPONSE} bytes")
        if incomplete:
            yield bytes(incomplete)


@contextmanager
def ask(
    path: str,
    method: str,
    url: str,
    seconds: float,
    content: Content | None = None,
) -> Iterator[Reply]:
    """Send a request to the socket ``path``; give up if the server sends nothing for ``seconds``. Raise OSError."""
    fields = [("Host", "localhost"), ("Connection", "close"), *(content.fields() if content else ())]
    head = render(f"{method} {url} HTTP/1.1", fields)
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(seconds)
        server.connect(path)
        # A server may refuse a request without reading its body; its answer is read all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            blocks = content.blocks() if content else iter(())
            server.sendall(head + next(blocks, b""))
            for block in blocks:
                server.sendall(block)
        try:
            yield _read_reply(server, method)
        except ProtocolError as error:
            raise OSError(f"response: {error}") from error


def _read_reply(server: socket.socket, method: str) -> Reply:
    received = bytearray()
    while True:
        head = take_head(received, 502)
        if head is None:
            data = server.recv(BLOCK)
            if not data:
                raise ConnectionError("the connection was closed before an answer")
            received += data
        elif not (response := ResponseHead.parse(head)).interim:
            return Reply(server, response, response.body(method), received)


def request(path: str, method: str, url: str, timeout: float, body: Any = None) -> tuple[int, bytes]:
    """Send one request with ``body`` as JSON; return status and body. Raise OSError, also for a response cut short."""
    content = None if body is None else Content(json.dumps(body).encode())
    with ask(path, method, url, timeout, content) as reply:
        return reply.status, reply.read()


def parse_json(body: bytes) -> Any:
    """Parse the body of a response; raise ValueError, also for one that is too long or nested too deeply."""
    return json_text.parse(body, MAX_VALUES, MAX_RESPONSE)


def get_json(path: str, url: str, timeout: float) -> Any:
    """GET ``url``; return the parsed JSON. Raise OSError, ValueError."""
    status, body = request(path, "GET", url, timeout)
    if status != 200:
        raise OSError(f"{path}: GET {url}: {status} {body[:200].decode(errors='replace')}")
    return parse_json(body)


def wait_for_json(path: str, url: str, timeout: float) -> Any:
    """Repeat `get_json` until it succeeds, for ``timeout`` seconds; raise what the last attempt raised."""
    end = time.monotonic() + timeout
    while True:
        try:
            return get_json(path, url, max(0.1, end - time.monotonic()))
        except (OSError, ValueError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
