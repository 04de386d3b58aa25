"""The HTTP server of the control interface, on a unix socket. Answers are text, or any other value as JSON."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

MAX_BODY = 4 * 1024 * 1024  # bytes
IDLE_SECONDS = 30
MAX_CLIENTS = 64  # at a time; the connections of others are closed

log = logging.getLogger(__name__)

ControlAnswer = tuple[HTTPStatus, object]
Responder = Callable[[str, str, bytes], ControlAnswer]


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Serves clients of a listening unix socket, each in its own thread; `handle_request` accepts one.

    ``respond(method, path, body)`` returns the answer to a request.
    """

    daemon_threads = True

    def __init__(self, listener: socket.socket, respond: Responder) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.socket.setblocking(False)
        self.respond = respond
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)

    def verify_request(self, request: object, client_address: object) -> bool:
        """Return whether there is room for one more client; it is closed otherwise."""
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client and then make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a failed request for debugging only: most often the client went away."""
        log.debug("control: request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "portchain"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: ControlServer

    def handle_any(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._answer(
                HTTPStatus.BAD_REQUEST, {"message": f"the body needs a Content-Length of at most {MAX_BODY} bytes"}
            )
            return
        body = self.rfile.read(int(length))
        self._answer(*self.server.respond(self.command, self.path.partition("?")[0], body))

    do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _answer(self, status: HTTPStatus, payload: object) -> None:
        plain = isinstance(payload, str)
        body = str(payload).encode() if plain else json.dumps(payload).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if plain else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
