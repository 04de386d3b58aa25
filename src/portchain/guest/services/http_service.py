"""HTTP on a unix socket of the guest, a request a connection, each in a thread. Bodies are streams, both ways."""

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

from ...engine import http1
from ...engine.body import Body, ProtocolError

IDLE_SECONDS = 60
BLOCK = 1 << 18  # bytes
_MAX_CLIENTS = 64


class RequestError(Exception):
    """A request that is answered with ``status`` and a message."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """``path`` is decoded, ``query`` has the last value of each word, ``body`` yields blocks; it raises OSError."""

    method: str
    path: str
    query: dict[str, str]
    kind: str
    body: Iterator[bytes]


@dataclass(frozen=True)
class Response:
    """``payload`` is JSON, or an iterator over bytes to be streamed: ``length`` of them where that is known."""

    payload: object = None
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "application/json"
    length: int | None = None


Respond = Callable[[Request], Response]


class HttpService:
    """Serves a listening socket; ``respond`` runs in a thread for each client and may raise RequestError."""

    def __init__(self, listener: socket.socket, respond: Respond) -> None:
        self._listener = listener
        self._respond = respond
        self._room = threading.BoundedSemaphore(_MAX_CLIENTS)

    def serve_forever(self) -> None:
        """Serve until `close`. While there are too many clients the next wait."""
        while True:
            self._room.acquire()
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting."""
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
            body = content(client, head.body(), received)
            if head.expects_continue:
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            response = self._respond(_request(head, body))
            first = next(response.payload, b"") if isinstance(response.payload, Iterator) else b""
        except (RequestError, ProtocolError) as error:
            with contextlib.suppress(ProtocolError):
                for _ in body:  # else the client, still sending, would not read the answer
                    pass
            response, first = Response({"message": str(error)}, HTTPStatus(error.status)), b""
        send(client, response, first)


def _read_head(client: socket.socket) -> tuple[http1.Request | None, bytearray]:
    """A request's head, None where none came, and what was read after it; raise ProtocolError."""
    received = bytearray()
    while (raw := http1.take_head(received)) is None:
        data = client.recv(BLOCK)
        if not data:
            return None, received
        received += data
    return http1.Request.parse(raw), received


def _request(head: http1.Request, body: Iterator[bytes]) -> Request:
    path, _, query = head.target.partition("?")
    try:
        words = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=32)
    except ValueError:
        raise RequestError(HTTPStatus.BAD_REQUEST, "a query has at most 32 words") from None
    kind = head.headers.get("Content-Type").partition(";")[0].strip().lower()
    return Request(head.method, urllib.parse.unquote(path), dict(words), kind, body)


def content(client: socket.socket, body: Body, received: bytes | bytearray) -> Iterator[bytes]:
    """A body's content, of which ``received`` came with the head; raise ProtocolError where it is broken (off)."""
    while True:
        piece = bytearray()
        body.take(memoryview(received), piece)
        if piece:
            yield bytes(piece)
        if body.complete:
            return
        received = client.recv(BLOCK)
        if not received:
            body.end()


def send(client: socket.socket, response: Response, first: bytes) -> None:
    """Send an answer, ``first`` already taken from its stream; raise OSError, the stream's own as well.

    A client knows by the length or the missing last chunk that an answer was cut short.
    """
    stream, length = response.payload, response.length
    if not isinstance(stream, Iterator):
        data = b"" if stream is None else json.dumps(stream).encode() + b"\n"
        stream, length = iter([data]), len(data)
    framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
    fields = (("Content-Type", response.kind), framing, ("Connection", "close"))
    client.sendall(http1.render(f"HTTP/1.1 {response.status} {response.status.phrase}", fields))
    for piece in filter(None, chain([first], stream)):
        client.sendall(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
    if length is None:
        client.sendall(b"0\r\n\r\n")
