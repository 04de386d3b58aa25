"""What programs print, piece by piece, as text for a page: no escape sequences, no control characters. Pure."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from ..engine.body import ProtocolError

_HEAD = 8  # bytes before each piece of a multiplexed stream
MAX_SEQUENCE = 4096  # bytes of an escape sequence that has not ended
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and strings
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")


class Plain:
    """Text out of bytes that may be cut anywhere."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def take(self, data: bytes, end: bool = False) -> str:
        """The text as far as it can be told; all of it at the ``end``."""
        text = _ESCAPES.sub("", self._rest + self._decoder.decode(data, end))
        cut = _UNFINISHED.search(text)
        self._rest = ""
        if cut and not end and len(cut[0]) <= MAX_SEQUENCE:
            text, self._rest = text[: cut.start()], cut[0]
        if text.endswith("\r") and not end:
            text, self._rest = text[:-1], "\r" + self._rest
        return "".join(c if c.isprintable() or c in "\n\t" else "" for c in text.replace("\r\n", "\n"))

    def say(self, text: str) -> str:
        """The text's end, and a line of the dashboard's own."""
        return f"{self.take(b'', end=True)}\n[{text}]\n"


class Pieces:
    """The engine's multiplexed stream: standard output and error in the order in which they came."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def take(self, data: bytes) -> Iterator[bytes]:
        """What was printed; raise ProtocolError."""
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
