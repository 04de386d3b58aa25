"""trim-after-delete: have the supervisor trim the data disk after images, containers or volumes are deleted.

The host has its space back at most 10 s after a delete, however many deletes come together. POST /trim trims at once.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ....http.server import HttpService, RequestError, ServiceRequest, ServiceResponse
from ....protocol.trim import MINIMUM_INTERVAL, REQUEST, TOO_SOON
from ...service_socket import listen

SOCKET = Path("/run/guest-services/trim-after-delete.sock")
ENGINE = "/run/guest-services/docker.sock"
SUPERVISOR = "/run/host-services/supervisor.sock"
SETTLE = 3.0
_RETRY = 1.0
_MAX_ATTEMPTS = 5
_TIMEOUT = 180
_FILTERS = {"type": ["image", "container", "volume"], "event": ["delete", "destroy", "prune"]}


def connect_events() -> socket.socket:
    """Ask the engine for the events of deletes; return the connection, its answer still unread."""
    engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    engine.connect(ENGINE)
    query = urllib.parse.urlencode({"filters": json.dumps(_FILTERS)})
    engine.sendall(f"GET /events?{query} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
    return engine


def settled_deletes(engine: socket.socket, settle: float = SETTLE) -> Iterator[None]:
    """Yield once for each burst of events, ``settle`` seconds after its first; end with the connection."""
    due: float | None = None
    header = b""
    while True:
        wait = None if due is None else max(0.0, due - time.monotonic())
        if select.select([engine], [], [], wait)[0]:
            data = engine.recv(65536)
            if not data:
                return
            if b"\r\n\r\n" not in header:
                header += data
                data = header.partition(b"\r\n\r\n")[2]
            if data.strip() and due is None:
                due = time.monotonic() + settle
        elif due is not None:
            due = None
            yield


def trim() -> dict[str, Any]:
    """Have the supervisor trim and return its answer; wait and ask again if it was asked too recently."""
    for _ in range(_MAX_ATTEMPTS):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as supervisor:
            supervisor.settimeout(_TIMEOUT)
            supervisor.connect(SUPERVISOR)
            supervisor.sendall(REQUEST)
            answer: dict[str, Any] = json.loads(supervisor.makefile().readline())
        if answer.get("error") != TOO_SOON:
            break
        time.sleep(MINIMUM_INTERVAL)
    return answer


def answer(request: ServiceRequest) -> ServiceResponse:
    """Answer one request to the service's socket."""
    if (request.method, request.path) != ("POST", "/trim"):
        raise RequestError(HTTPStatus.NOT_FOUND, f"trim-after-delete: no {request.method} {request.path}")
    try:
        reply = trim()
    except (OSError, ValueError) as error:
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"host: the supervisor does not answer: {error}") from None
    if "error" in reply:
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, reply["error"])
    return ServiceResponse(reply)


def log_answer(answer: dict[str, Any]) -> None:
    """Log the supervisor's answer in one line."""
    error = answer.get("error")
    print(f"error: {error}" if error else "ok: {freed} bytes came back, {held} are held".format(**answer), flush=True)


def main() -> int:
    """Trim after deletes for as long as the guest runs; the engine may stop and start meanwhile."""
    threading.Thread(target=HttpService(listen(SOCKET), answer).serve_forever, daemon=True).start()
    while True:
        try:
            with connect_events() as engine:
                for _ in settled_deletes(engine):
                    log_answer(trim())
        except (OSError, ValueError) as error:
            print(f"guest: engine or supervisor not there, trying again: {error}", file=sys.stderr, flush=True)
        time.sleep(_RETRY)


if __name__ == "__main__":
    sys.exit(main())
