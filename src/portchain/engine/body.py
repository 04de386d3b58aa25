"""Where the body of an HTTP message ends, without I/O.

Bodies are not taken apart on their way: a `Body` is shown bytes and says how many of them belong to it, framing
included. Given a ``bytearray`` as well, it puts the content in there, without the framing.
"""

from __future__ import annotations

import re

MAX_LINE = 4096  # bytes of a chunk's size line or a trailer
MAX_TRAILERS = 256
MAX_DIGITS = 15  # of a length, decimal or hexadecimal

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})[ \t]*(;[^\r\n\x00]*)?" % MAX_DIGITS)


class ProtocolError(Exception):
    """A message that breaks HTTP's rules or a limit, and the status to refuse it with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Body:
    """A message's body, as it is read."""

    complete = False

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """How many of these bytes belong to the body. Raise ProtocolError."""
        raise NotImplementedError

    def end(self) -> None:
        """Take note that the stream ended; raise ProtocolError where the body did not."""
        if not self.complete:
            raise ProtocolError(400, "the stream ended in the middle of a body")

    def rejoin(self, content: bytearray) -> bytes:
        """What to send in place of all bytes taken so far, which held ``content``, so that the rest may follow."""
        return bytes(content)


class Length(Body):
    """A body of so many bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = not length

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """As Body's."""
        count = min(len(data), self._left)
        if content is not None:
            content += data[:count]
        self._left -= count
        self.complete = not self._left
        return count


class UntilClose(Body):
    """A response that ends with its connection."""

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """As Body's."""
        if content is not None:
            content += data
        return len(data)

    def end(self) -> None:
        """As Body's; here it is the proper end."""
        self.complete = True


class Chunked(Body):
    """A chunked body, its extensions and trailers passed over."""

    def __init__(self, status: int = 400) -> None:
        self._status = status
        self._left = 0  # of the chunk's data
        self._line = bytearray()
        self._at = self._size
        self._trailers = 0

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """As Body's."""
        start = 0
        while start < len(data) and not self.complete:
            if self._left:
                count = min(len(data) - start, self._left)
                if content is not None:
                    content += data[start : start + count]
                self._left -= count
                start += count
            else:
                start += self._feed_line(bytes(data[start : start + 64]))
        return start

    def rejoin(self, content: bytearray) -> bytes:
        """As Body's."""
        opened = self._left or self._at == self._data_end
        between = b"" if opened else b"\r\n0\r\n" if self._at == self._trailer else b"\r\n"
        return b"".join((b"%x\r\n" % (len(content) + self._left), content, between, self._line))

    def _feed_line(self, piece: bytes) -> int:
        end = piece.find(b"\n") + 1
        self._line += piece[:end] if end else piece
        if len(self._line) > MAX_LINE:
            raise ProtocolError(self._status, f"a chunk's size line or trailer has at most {MAX_LINE} bytes")
        if not end:
            return len(piece)
        if not self._line.endswith(b"\r\n"):
            raise ProtocolError(self._status, "a line of a chunked body ends with CR LF")
        line = bytes(self._line[:-2])
        self._line.clear()
        self._at(line)
        return end

    def _size(self, line: bytes) -> None:
        size = _CHUNK_SIZE.fullmatch(line)
        if not size:
            raise ProtocolError(self._status, f"no chunk size: {shown(line.decode('latin-1'))}")
        self._left = int(size[1], 16)
        self._at = self._data_end if self._left else self._trailer

    def _data_end(self, line: bytes) -> None:
        if line:
            raise ProtocolError(self._status, "a chunk is longer than its size says")
        self._at = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += 1
        if self._trailers > MAX_TRAILERS:
            raise ProtocolError(self._status, f"a body has at most {MAX_TRAILERS} trailers")
        self.complete = not line


def shown(text: str) -> str:
    """Text from outside, fit for a message."""
    return repr(text if len(text) <= 64 else f"{text[:64]}…")
