"""Ask the engine's API from inside the guest, with the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from ..http.blocking_client import request
from ..http.server import RequestError

ENGINE = "/run/guest-services/docker.sock"
_SECONDS = 30

Ask = Callable[..., Any]


def ask(method: str, url: str, payload: object = None, seconds: float = _SECONDS) -> Any:
    """Return the engine's answer, parsed. Raise RequestError with the engine's own status and message.

    The status is 503 if the engine is not there, or does not answer for ``seconds``.
    """
    try:
        status, body = request(ENGINE, method, url, seconds, payload)
        answer = json.loads(body) if body else None
    except (OSError, ValueError) as error:
        message = f"guest: the engine does not answer: {error}; portchain engine start"
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message) from None
    if status >= 400:
        text = answer.get("message") if isinstance(answer, dict) else answer
        raise RequestError(HTTPStatus(status), f"guest: the engine: {text}")
    return answer
