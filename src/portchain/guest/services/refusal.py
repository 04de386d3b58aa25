"""What one who asks for a place that is not allowed is answered, over DNS and HTTP. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from urllib.parse import urlsplit

Sentence = Callable[[str], str]

_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0100, 0x0080
_NAME_ERROR = 3
_TXT, _OPT, _INTERNET = 16, 41, 1
_EXTENDED_ERROR, _BLOCKED = 15, 15
_PAYLOAD = 1232
_QUESTION_NAME = b"\xc0\x0c"


def refuse_dns(query: bytes, sentence: Sentence) -> bytes:
    """Answer one query: no such name, and why (RFC 8914); one for TXT with the reason. Raise ValueError for garbage."""
    try:
        number, flags, questions, _, _, additional = _HEADER.unpack_from(query)
        name, end = _question_name(query)
        (kind,) = struct.unpack_from("!H", query, end)
    except (struct.error, IndexError):
        raise ValueError("not a DNS query") from None
    if flags & _RESPONSE or questions != 1:
        raise ValueError("not a DNS query of one question")
    text = sentence(name).encode()[:255]
    found = kind == _TXT
    answer = _record(_QUESTION_NAME, _TXT, _INTERNET, 0, bytes([len(text)]) + text) if found else b""
    reason = struct.pack("!HHH", _EXTENDED_ERROR, len(text) + 2, _BLOCKED) + text
    options = _record(b"\0", _OPT, _PAYLOAD, 0, reason) if additional else b""
    status = _RESPONSE | flags & _RECURSION_DESIRED | _RECURSION_AVAILABLE | (0 if found else _NAME_ERROR)
    head = _HEADER.pack(number, status, 1, bool(answer), 0, bool(options))
    return head + query[_HEADER.size : end + 4] + answer + options


def refuse_http(head: bytes, sentence: Sentence) -> bytes:
    """Answer a request to a proxy: 403, the reason in the status line, for that is what clients show, and as a page."""
    method, _, rest = head.partition(b"\r\n")[0].decode("ascii", "replace").partition(" ")
    target = rest.partition(" ")[0]
    try:
        name = urlsplit(f"//{target}" if method == "CONNECT" else target).hostname or target
    except ValueError:
        name = target
    text = sentence(name)
    page = f"{text}\n".encode()
    fields = ("Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(page)}", "Connection: close")
    return "\r\n".join((f"HTTP/1.1 403 {text}", *fields, "", "")).encode() + page


def _question_name(query: bytes) -> tuple[str, int]:
    """The name asked for, and where it ends."""
    labels, at = [], _HEADER.size
    while length := query[at]:
        if length > 63:
            raise IndexError
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels) or ".", at + 1


def _record(name: bytes, kind: int, group: int, lifetime: int, data: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, group, lifetime, len(data)) + data
