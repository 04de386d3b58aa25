"""Asking the engine from inside the guest, with as little as that takes."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from ...engine import http1
from ...engine.body import ProtocolError
from .http_service import RequestError

ENGINE = "/run/guest-services/docker.sock"
_SECONDS = 30

Ask = Callable[..., Any]


def ask(method: str, url: str, payload: object = None, seconds: float = _SECONDS) -> Any:
    """The engine's answer, parsed; raise RequestError with the engine's own status and message, or 503.

    503 is also what an engine gets that says nothing for ``seconds``.
    """
    body = b"" if payload is None else json.dumps(payload).encode()
    fields = (("Host", "docker"), ("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(seconds)
            engine.connect(ENGINE)
            engine.sendall(http1.render(f"{method} {url} HTTP/1.0", fields) + body)
            received = bytearray(engine.makefile("rb").read())
        head = http1.Answer.parse(http1.take_head(received, 502) or b"")
        found = json.loads(received) if received else None
    except (OSError, ValueError, ProtocolError) as error:
        message = f"guest: the engine does not answer: {error}; portchain engine start"
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message) from None
    if head.status >= 400:
        text = found.get("message") if isinstance(found, dict) else found
        raise RequestError(HTTPStatus(head.status), f"guest: the engine: {text}")
    return found
