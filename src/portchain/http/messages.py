"""Parse the heads of HTTP/1.0 and 1.1 messages without I/O, and tell what kind of body follows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from .body import MAX_DIGITS, Body, Chunked, Length, ProtocolError, UntilClose, quoted

MAX_HEAD = 1024 * 1024 + 4096  # bytes; the engine's own limit
MAX_FIELDS = 10_000
MAX_METHOD = 32  # bytes
RAW_STREAMS = ("application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(rf"{_TOKEN.pattern[:-1]}{{1,{MAX_METHOD}}}")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET = re.compile(r"[\x21-\x7e\x80-\xff]+")
_HEAD_END = re.compile(rb"\n\r?\n")
_FIRST_WORD = re.compile(rb"[!#$%%&'*+.^_`|~0-9A-Za-z-]{1,%d}(?:\Z|[ /])" % MAX_METHOD)


class Headers(list[tuple[str, str]]):
    """Header fields in their order; names are compared without case."""

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a field."""
        return next(iter(self.all(name)), default)

    def all(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self if key.lower() == name.lower()]

    def tokens(self, name: str) -> list[str]:
        """Return the members of a comma-separated list, in lower case."""
        parts = ",".join(self.all(name)).split(",")
        return [token for part in parts if (token := part.strip().lower())]

    def without(self, *names: str) -> Headers:
        """Return all fields but those named."""
        removed = {name.lower() for name in names}
        return Headers((key, value) for key, value in self if key.lower() not in removed)


@dataclass(frozen=True)
class RequestHead:
    """The head of a request; ``raw`` are its bytes as they came."""

    method: str
    target: str
    version: str
    headers: Headers
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse a head; raise ProtocolError."""
        line, headers = _parse_head(raw, 400, "request")
        match line.split(" "):
            case [method, target, version] if _METHOD.fullmatch(method) and _TARGET.fullmatch(target):
                _check_version(version, 505, "request")
                return cls(method, target, version, headers, raw)
        raise ProtocolError(400, f"request: no HTTP request line: {quoted(line)}")

    @property
    def persistent(self) -> bool:
        """Whether another request may follow on the connection."""
        return _persistent(self.version, self.headers)

    @property
    def expects_continue(self) -> bool:
        """Whether the client sends its body only after an interim response."""
        return self.version == "HTTP/1.1" and "100-continue" in self.headers.tokens("Expect")

    def body(self) -> Body:
        """Return the body that follows the head; raise ProtocolError if its length cannot be told."""
        return _find_body(self.version, self.headers, 400, "request") or Length(0)


@dataclass(frozen=True)
class ResponseHead:
    """The head of a response; ``raw`` are its bytes as they came."""

    version: str
    status: int
    reason: str
    headers: Headers
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse a head; raise ProtocolError."""
        line, headers = _parse_head(raw, 502, "response")
        version, _, rest = line.partition(" ")
        status, _, reason = rest.partition(" ")
        _check_version(version, 502, "response")
        if not re.fullmatch("[1-9][0-9][0-9]", status, re.ASCII):
            raise ProtocolError(502, f"response: no HTTP status line: {quoted(line)}")
        return cls(version, int(status), reason, headers, raw)

    @property
    def interim(self) -> bool:
        """Whether the final head is still to come."""
        return 100 <= self.status < 200 and self.status != HTTPStatus.SWITCHING_PROTOCOLS

    @property
    def persistent(self) -> bool:
        """Whether another response may follow on the connection."""
        return _persistent(self.version, self.headers)

    def hijacks(self, method: str) -> bool:
        """Return whether raw bytes follow both ways: after 101, or in Docker's old way without an upgrade."""
        if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
            return True
        framed = self.headers.all("Content-Length") or self.headers.all("Transfer-Encoding")
        return (
            method == "POST" and self.status == 200 and not framed and self.headers.get("Content-Type") in RAW_STREAMS
        )

    def body(self, method: str) -> Body:
        """Return the body that follows, in answer to ``method``; raise ProtocolError if its length cannot be told."""
        if method == "HEAD" or self.status < 200 or self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return Length(0)
        return _find_body(self.version, self.headers, 502, "response") or UntilClose()


def take_head(received: bytearray, status: int = 400, searched: int = 0, limit: int = MAX_HEAD) -> bytes | None:
    """Remove a whole head from the front of ``received`` and return it; None if more must be read.

    Empty lines before it are dropped. ``searched`` bytes were there at the last call. Raise ProtocolError with
    ``status`` for what cannot become a head, and with 431 for one of more than ``limit`` bytes.
    """
    if received.startswith((b"\r", b"\n")):
        del received[: len(received) - len(received.lstrip(b"\r\n"))]
    end = _HEAD_END.search(received, max(0, searched - 2), limit)
    if end:
        raw = bytes(received[: end.end()])
        del received[: end.end()]
        return raw
    beginning = bytes(received[: MAX_METHOD + 1])
    if beginning and not _FIRST_WORD.match(beginning):
        raise ProtocolError(status, f"this is not HTTP: {quoted(received[:MAX_METHOD].decode('latin-1'))}")
    if len(received) >= limit:
        raise ProtocolError(431 if status < 500 else status, f"a head has at most {limit} bytes")
    return None


def render(first_line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a head as it is sent."""
    lines = [first_line, *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1", "replace")


def _parse_head(raw: bytes, status: int, side: str) -> tuple[str, Headers]:
    if raw.count(b"\n") > MAX_FIELDS + 2:
        raise ProtocolError(431 if status < 500 else status, f"{side}: a head has at most {MAX_FIELDS} fields")
    first, *lines = (line.removesuffix("\r") for line in raw.decode("latin-1").split("\n")[:-2])
    headers = Headers()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ProtocolError(status, f"{side}: no header field: {quoted(line)}")
        headers.append((name, value.strip(" \t")))
    return first, headers


def _find_body(version: str, headers: Headers, status: int, side: str) -> Body | None:
    lengths, encodings = headers.all("Content-Length"), headers.all("Transfer-Encoding")
    if len(lengths) + len(encodings) > 1:
        raise ProtocolError(status, f"{side}: more than one Content-Length or Transfer-Encoding")
    if encodings:
        if encodings[0].lower() != "chunked" or version != "HTTP/1.1":
            raise ProtocolError(
                501 if status < 500 else status,
                f"{side}: Transfer-Encoding {quoted(encodings[0])}: only chunked, in HTTP/1.1",
            )
        return Chunked(status)
    if not lengths:
        return None
    if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", lengths[0], re.ASCII):
        raise ProtocolError(status, f"{side}: Content-Length {quoted(lengths[0])}: not a length")
    return Length(int(lengths[0]))


def _check_version(version: str, status: int, side: str) -> None:
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise ProtocolError(status, f"{side}: version {quoted(version)}: only HTTP/1.0 and HTTP/1.1")


def _persistent(version: str, headers: Headers) -> bool:
    tokens = headers.tokens("Connection")
    return "close" not in tokens and (version == "HTTP/1.1" or "keep-alive" in tokens)
