"""An HTTP server on a unix socket of the guest, with a thread for each connection.

A connection has one request. Bodies are streams, both ways.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain

from . import messages
from .body import Body, ProtocolError

IDLE_SECONDS = 60
BLOCK = 1 << 18  # bytes
_MAX_CLIENTS = 64
_MAX_HEAD = 64 * 1024  # bytes


class RequestError(Exception):
    """A request is refused with ``status`` and a message."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ServiceRequest:
    """A request: ``path`` is decoded, ``query`` has the last value of each key, ``body`` yields blocks.

    Reading the body may raise OSError and ProtocolError.
    """

    method: str
    path: str
    query: dict[str, str]
    kind: str
    body: Iterator[bytes]


@dataclass(frozen=True)
class ServiceResponse:
    """A response whose ``payload`` is JSON, or an iterator over bytes to stream, of ``length`` if that is known."""

    payload: object = None
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "application/json"
    length: int | None = None


Respond = Callable[[ServiceRequest], ServiceResponse]


class HttpService:
    """Serves a listening socket; ``respond`` is called in a thread for each client and may raise RequestError."""

    def __init__(self, listener: socket.socket, respond: Respond) -> None:
        self._listener = listener
        self._respond = respond
        self._room = threading.BoundedSemaphore(_MAX_CLIENTS)

    def serve_forever(self) -> None:
        """Serve until `close`. While there are too many clients, further ones wait."""
        while True:
            self._room.acquire()
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting clients."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(IDLE_SECONDS)
                self._answer(client)
        except OSError:
            pass  # the client went away
        except Exception:
            traceback.print_exc(file=sys.stderr)
        finally:
            self._room.release()

    def _answer(self, client: socket.socket) -> None:
        body: Iterator[bytes] = iter(())
        try:
            head, received = _read_head(client)
            if head is None:
                return
            body = read_content(client, head.body(), received)
            if head.expects_continue:
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            response = self._respond(_request(head, body))
            first = next(response.payload, b"") if isinstance(response.payload, Iterator) else b""
        except (RequestError, ProtocolError) as error:
            with contextlib.suppress(ProtocolError):
                for _ in body:  # a client reads the answer only when it has sent everything
                    pass
            response, first = ServiceResponse({"message": str(error)}, HTTPStatus(error.status)), b""
        send_response(client, response, first)


def _read_head(client: socket.socket) -> tuple[messages.RequestHead | None, bytearray]:
    """Return a request's head, None if none came, and what was read after it; raise ProtocolError."""
    received = bytearray()
    while (raw := messages.take_head(received, limit=_MAX_HEAD)) is None:
        data = client.recv(BLOCK)
        if not data:
            return None, received
        received += data
    return messages.RequestHead.parse(raw), received


def _request(head: messages.RequestHead, body: Iterator[bytes]) -> ServiceRequest:
    path, _, query = head.target.partition("?")
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=32)
    except ValueError:
        raise RequestError(HTTPStatus.BAD_REQUEST, "a query has at most 32 keys") from None
    kind = head.headers.get("Content-Type").partition(";")[0].strip().lower()
    return ServiceRequest(head.method, urllib.parse.unquote(path), dict(pairs), kind, body)


def read_content(client: socket.socket, body: Body, received: bytes | bytearray) -> Iterator[bytes]:
    """Yield a body's content, of which ``received`` came with the head; raise ProtocolError if it breaks off."""
    while True:
        block = bytearray()
        body.take(memoryview(received), block)
        if block:
            yield bytes(block)
        if body.complete:
            return
        received = client.recv(BLOCK)
        if not received:
            body.end()


def send_response(client: socket.socket, response: ServiceResponse, first: bytes) -> None:
    """Send a response whose stream's first block, ``first``, was already taken; raise OSError, also the stream's own.

    The length or the missing last chunk tells a client that a response was cut short.
    """
    stream, length = response.payload, response.length
    if not isinstance(stream, Iterator):
        data = b"" if stream is None else json.dumps(stream).encode() + b"\n"
        stream, length = iter([data]), len(data)
    framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
    fields = (("Content-Type", response.kind), framing, ("Connection", "close"))
    client.sendall(messages.render(f"HTTP/1.1 {response.status} {response.status.phrase}", fields))
    for block in filter(None, chain([first], stream)):
        client.sendall(block if length is not None else b"%x\r\n%b\r\n" % (len(block), block))
    if length is None:
        client.sendall(b"0\r\n\r\n")
