"""Decode what programs print to text for a page, without escape sequences and control characters. Pure."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from ..http.body import ProtocolError

_HEAD = 8  # bytes before each piece of a multiplexed stream
MAX_SEQUENCE = 4096  # bytes of an escape sequence that has not ended
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and strings
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")


class PlainTextDecoder:
    """Decodes bytes that may be split anywhere."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes, end: bool = False) -> str:
        """Return the text as far as it is known; the rest at the ``end``."""
        text = _ESCAPES.sub("", self._rest + self._decoder.decode(data, end))
        unfinished = _UNFINISHED.search(text)
        self._rest = ""
        if unfinished and not end and len(unfinished[0]) <= MAX_SEQUENCE:
            text, self._rest = text[: unfinished.start()], unfinished[0]
        if text.endswith("\r") and not end:
            text, self._rest = text[:-1], "\r" + self._rest
        return "".join(
            letter if letter.isprintable() or letter in "\n\t" else "" for letter in text.replace("\r\n", "\n")
        )

    def append_line(self, text: str) -> str:
        """Return the rest of the text, and a line of the dashboard's own."""
        return f"{self.feed(b'', end=True)}\n[{text}]\n"


class Demultiplexer:
    """Decodes the engine's multiplexed stream: standard output and error in the order of arrival."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what was printed; raise ProtocolError."""
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                yield piece
                continue
            missing = _HEAD - len(self._head)
            self._head += data[:missing]
            data = data[missing:]
            if len(self._head) == _HEAD:
                if self._head[0] > 3 or any(self._head[1:4]):
                    raise ProtocolError(502, "guest: the engine's stream is not multiplexed")
                self._left = int.from_bytes(self._head[4:], "big")
                self._head.clear()
