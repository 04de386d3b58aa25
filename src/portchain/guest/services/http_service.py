"""HTTP on a unix socket of the guest, each client in a thread of its own. Bodies are streams, both ways."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import Any

IDLE_SECONDS = 60
BLOCK = 1 << 18  # bytes
_MAX_CLIENTS = 64
_MAX_LINE = 4096

log = logging.getLogger(__name__)


class RequestError(Exception):
    """A request that is answered with ``status`` and a message."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """``path`` is decoded, ``query`` has the last value of each word, ``body`` yields blocks and raises OSError."""

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


class HttpService(socketserver.ThreadingUnixStreamServer):
    """Serves a listening unix socket; ``respond`` runs in a thread for each client and may raise RequestError."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, respond: Respond) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.respond = respond
        self._room = threading.BoundedSemaphore(_MAX_CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one client; while there are too many the next waits."""
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As the mix-in's."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to speak of; anything else is a fault."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("a request failed")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "portchain"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: HttpService

    def handle_any(self) -> None:
        self.close_connection = True  # a body that was not read to its end cannot be taken for a request
        body = self._body()
        try:
            self._answer(self.server.respond(self._request(body)))
        except RequestError as refusal:
            for _ in body:  # else the client, still sending, would not read the answer
                pass
            self._answer(Response({"message": str(refusal)}, refusal.status))

    do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _request(self, body: Iterator[bytes]) -> Request:
        path, _, query = self.path.partition("?")
        words = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=32)
        return Request(self.command, urllib.parse.unquote(path), dict(words), self.headers.get_content_type(), body)

    def _body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return chunks(self.rfile)
        length = self.headers.get("Content-Length", "0")
        return pieces(self.rfile, int(length) if length.isdigit() else 0)

    def _answer(self, response: Response) -> None:
        stream, length = response.payload, response.length
        if not isinstance(stream, Iterator):
            body = b"" if stream is None else json.dumps(stream).encode() + b"\n"
            stream, length = iter([body]), len(body)
        self.send_response(response.status)
        self.send_header("Content-Type", response.kind)
        self.send_header("Connection", "close")
        self.send_header(*("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length)))
        self.end_headers()
        for piece in stream:
            self.wfile.write(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
        if length is None:
            self.wfile.write(b"0\r\n\r\n")

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def pieces(source: BufferedIOBase, length: int) -> Iterator[bytes]:
    """The next ``length`` bytes of ``source``; raise ConnectionError where it ends before."""
    while length:
        piece = source.read(min(length, BLOCK))
        if not piece:
            raise ConnectionError("the client went away in the middle of its request")
        length -= len(piece)
        yield piece


def chunks(source: BufferedIOBase) -> Iterator[bytes]:
    """The content of a chunked body; raise ConnectionError where it is broken off or broken."""
    while True:
        line = source.readline(_MAX_LINE)
        try:
            size = int(line.partition(b";")[0].strip(), 16)
        except ValueError:
            raise ConnectionError("the client's request broke off between two chunks") from None
        if not size:
            break
        yield from pieces(source, size)
        source.readline(_MAX_LINE)
    while source.readline(_MAX_LINE).strip():
        pass
