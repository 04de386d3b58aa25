"""A client of the control interface."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class ControlError(Exception):
    """The forwarder refused, or cannot be reached; ``status`` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(control: Path, method: str, path: str, body: object = None, timeout: float = 30) -> Any:
    """One request to the control socket; the decoded answer. Raise ControlError."""
    connection = _UnixConnection(control, timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ControlError(f"host: the forwarder does not answer on {control}: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise ControlError(answer.get("message", response.reason), response.status)
    return answer
