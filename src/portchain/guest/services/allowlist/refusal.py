"""Answers, over DNS and HTTP, to clients that ask for a name that is not allowed. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from urllib.parse import urlsplit

# Returns why a name is refused, in one sentence.
Explain = Callable[[str], str]

_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0100, 0x0080
_NAME_ERROR = 3
_TXT, _OPT, _INTERNET = 16, 41, 1
_EXTENDED_ERROR, _BLOCKED = 15, 15
_PAYLOAD = 1232
_QUESTION_NAME = b"\xc0\x0c"


def refuse_dns(query: bytes, explain: Explain) -> bytes:
    """Return the answer to one query: no such name, with the reason (RFC 8914). Raise ValueError for garbage.

    A query for TXT gets the reason as its record.
    """
    try:
        number, flags, questions, _, _, additional = _HEADER.unpack_from(query)
        name, end = _question_name(query)
        (kind,) = struct.unpack_from("!H", query, end)
    except (struct.error, IndexError):
        raise ValueError("not a DNS query") from None
    if flags & _RESPONSE or questions != 1:
        raise ValueError("not a DNS query of one question")
    text = explain(name).encode()[:255]
    asks_text = kind == _TXT
    answer = _record(_QUESTION_NAME, _TXT, _INTERNET, 0, bytes([len(text)]) + text) if asks_text else b""
    reason = struct.pack("!HHH", _EXTENDED_ERROR, len(text) + 2, _BLOCKED) + text
    options = _record(b"\0", _OPT, _PAYLOAD, 0, reason) if additional else b""
    status = _RESPONSE | flags & _RECURSION_DESIRED | _RECURSION_AVAILABLE | (0 if asks_text else _NAME_ERROR)
    head = _HEADER.pack(number, status, 1, bool(answer), 0, bool(options))
    return head + query[_HEADER.size : end + 4] + answer + options


def refuse_http(head: bytes, explain: Explain) -> bytes:
    """Return the answer to a proxy's client: 403, with the reason as a page, and in the status line clients show."""
    method, _, rest = head.partition(b"\r\n")[0].decode("ascii", "replace").partition(" ")
    target = rest.partition(" ")[0]
    try:
        name = urlsplit(f"//{target}" if method == "CONNECT" else target).hostname or target
    except ValueError:
        name = target
    text = explain(name)
    page = f"{text}\n".encode()
    fields = ("Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(page)}", "Connection: close")
    return "\r\n".join((f"HTTP/1.1 403 {text}", *fields, "", "")).encode() + page


def _question_name(query: bytes) -> tuple[str, int]:
    """Return the name asked for, and the offset at which it ends; raise IndexError."""
    labels, offset = [], _HEADER.size
    while length := query[offset]:
        if length > 63:
            raise IndexError
        labels.append(query[offset + 1 : offset + 1 + length].decode("ascii", "replace"))
        offset += 1 + length
    return ".".join(labels) or ".", offset + 1


def _record(name: bytes, kind: int, group: int, lifetime: int, data: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, group, lifetime, len(data)) + data
