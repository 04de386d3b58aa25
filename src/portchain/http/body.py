"""Find where the body of an HTTP message ends, without I/O.

Bodies are passed on as they come, framing included: a `Body` is given bytes and returns how many belong to it. Given a
``bytearray`` as well, it appends the content without the framing to that.
"""

from __future__ import annotations

import re

MAX_LINE = 4096  # bytes of a chunk's size line or a trailer
MAX_TRAILERS = 64 * 1024  # bytes
MAX_DIGITS = 15  # of a length, decimal or hexadecimal

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})[ \t]*(;[^\r\n\x00]*)?" % MAX_DIGITS)


class ProtocolError(Exception):
    """A message breaks HTTP's rules or a limit; ``status`` is the one to refuse it with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Body:
    """The body of a message, while it is read."""

    complete = False

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """Return how many of these bytes belong to the body, and append their content to ``content``.

        Raise ProtocolError.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Note that the stream ended; raise ProtocolError if the body is not complete."""
        if not self.complete:
            raise ProtocolError(400, "the stream ended in the middle of a body")

    def rejoin(self, content: bytearray) -> bytes:
        """Return what to send instead of all bytes taken so far, if they held ``content``.

        The bytes of the body that follow can then be sent unchanged.
        """
        return bytes(content)


class Length(Body):
    """A body of a known length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = not length

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """See `Body.take`."""
        count = min(len(data), self._left)
        if content is not None:
            content += data[:count]
        self._left -= count
        self.complete = not self._left
        return count


class UntilClose(Body):
    """A response's body that ends with the connection."""

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """See `Body.take`."""
        if content is not None:
            content += data
        return len(data)

    def end(self) -> None:
        """See `Body.end`; the end of the stream completes the body."""
        self.complete = True


class Chunked(Body):
    """A chunked body; its extensions and trailers are ignored."""

    def __init__(self, status: int = 400) -> None:
        self._status = status
        self._left = 0  # bytes of the chunk's data
        self._line = bytearray()
        self._parse_line = self._size
        self._trailers = 0

    def take(self, data: memoryview, content: bytearray | None = None) -> int:
        """See `Body.take`."""
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
        """See `Body.rejoin`."""
        in_chunk = self._left or self._parse_line == self._data_end
        separator = b"" if in_chunk else b"\r\n0\r\n" if self._parse_line == self._trailer else b"\r\n"
        return b"".join((b"%x\r\n" % (len(content) + self._left), content, separator, self._line))

    def _feed_line(self, data: bytes) -> int:
        end = data.find(b"\n") + 1
        self._line += data[:end] if end else data
        if len(self._line) > MAX_LINE:
            raise ProtocolError(self._status, f"a chunk's size line or trailer has at most {MAX_LINE} bytes")
        if not end:
            return len(data)
        if not self._line.endswith(b"\r\n"):
            raise ProtocolError(self._status, "a line of a chunked body ends with CR LF")
        line = bytes(self._line[:-2])
        self._line.clear()
        self._parse_line(line)
        return end

    def _size(self, line: bytes) -> None:
        size = _CHUNK_SIZE.fullmatch(line)
        if not size:
            raise ProtocolError(self._status, f"no chunk size: {quoted(line.decode('latin-1'))}")
        self._left = int(size[1], 16)
        self._parse_line = self._data_end if self._left else self._trailer

    def _data_end(self, line: bytes) -> None:
        if line:
            raise ProtocolError(self._status, "a chunk is longer than its size says")
        self._parse_line = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line) + 2
        if self._trailers > MAX_TRAILERS:
            raise ProtocolError(self._status, f"a body has at most {MAX_TRAILERS} bytes of trailers")
        self.complete = not line


def quoted(text: str) -> str:
    """Quote text from outside for a message, shortened to 64 characters."""
    return repr(text if len(text) <= 64 else f"{text[:64]}…")
