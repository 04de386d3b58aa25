"""The control interface over HTTP on a unix socket: text as it is, anything else as JSON."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

MAX_BODY = 4 * 1024 * 1024  # bytes
IDLE_SECONDS = 30

log = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, object]
Respond = Callable[[str, str, bytes], Answer]


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Serves a listening unix socket, each client from a thread of its own, whenever `handle_request` is called.

    ``respond(method, path, body)`` gives each answer.
    """

    daemon_threads = True

    def __init__(self, listener: socket.socket, respond: Respond) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.socket.setblocking(False)
        self.respond = respond

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to speak of."""
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
            self._answer(HTTPStatus.BAD_REQUEST, {"message": f"a body has a length of at most {MAX_BODY} bytes"})
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
