"""A whole response, which a handler returns or a client reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from . import json_text
from .messages import Headers, render

FRAMING = ("Content-Length", "Transfer-Encoding", "Trailer")
_HOP_BY_HOP = (*FRAMING, "Connection", "Keep-Alive", "Upgrade")


@dataclass(frozen=True)
class Response:
    """A response with its whole ``body``, without framing; an empty ``reason`` stands for the status's usual one."""

    status: int
    headers: Headers
    body: bytes = b""
    reason: str = ""

    @classmethod
    def json(cls, status: int, value: object) -> Self:
        """Make a response with ``value`` as JSON."""
        return cls(status, Headers([("Content-Type", "application/json")]), json.dumps(value).encode() + b"\n")

    @classmethod
    def error(cls, status: int, message: str) -> Self:
        """Make an error response in Docker's form."""
        return cls.json(status, {"message": message})

    def parsed(self) -> Any:
        """Return the body's JSON, parsed within the limits of `json_text.parse`; raise ValueError."""
        return json_text.parse(self.body)

    def render(self, method: str = "GET", persistent: bool = False) -> bytes:
        """Return the bytes of the response to a request of ``method``."""
        reason = self.reason or (HTTPStatus(self.status).phrase if self.status in list(HTTPStatus) else "")
        headers = self.headers.without(*_HOP_BY_HOP)
        length = str(len(self.body))
        if method == "HEAD":
            length = self.headers.get("Content-Length", length)
        if self.status >= 200 and self.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            headers.append(("Content-Length", length))
        headers.append(("Connection", "keep-alive" if persistent else "close"))
        head = render(f"HTTP/1.1 {self.status} {reason}", headers)
        return head if method == "HEAD" else head + self.body
