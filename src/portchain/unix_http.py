"""A small HTTP client for unix sockets."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(path: str, method: str, url: str, timeout: float, body: Any = None) -> tuple[int, bytes]:
    """Send one request, ``body`` as JSON; returns status and body. Raises OSError, also for an answer cut short."""
    connection = UnixConnection(path, timeout)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, url, text, {} if text is None else {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error!r}") from error
    finally:
        connection.close()


def get_json(path: str, url: str, timeout: float) -> Any:
    """GET ``url``; returns the parsed JSON. Raises OSError, ValueError."""
    status, body = request(path, "GET", url, timeout)
    if status != 200:
        raise OSError(f"{path}: GET {url}: {status} {body[:200].decode(errors='replace')}")
    return json.loads(body)


def wait_for_json(path: str, url: str, timeout: float) -> Any:
    """`get_json` again and again for ``timeout`` seconds; raises what the last try raised."""
    end = time.monotonic() + timeout
    while True:
        try:
            return get_json(path, url, max(0.1, end - time.monotonic()))
        except (OSError, ValueError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
