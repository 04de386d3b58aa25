"""A connection's bytes taken apart by the parser, whatever pieces they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from portchain.http.body import Body, ProtocolError
from portchain.http.messages import RequestHead, ResponseHead, take_head

Message = tuple[RequestHead | ResponseHead | None, bytes, bytes]  # the head, the content, the body's own bytes


def requests(pieces: Iterable[bytes]) -> list[Message | int]:
    """The requests of a stream that then ends; a status for what breaks the rules, and nothing after that."""
    return _Reader(lambda raw: (head := RequestHead.parse(raw), head.body()), 400).read(pieces)


def answers(pieces: Iterable[bytes], method: str = "GET") -> list[Message | int]:
    """The responses to requests by ``method``, likewise."""
    return _Reader(lambda raw: (head := ResponseHead.parse(raw), head.body(method)), 502).read(pieces)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The pieces of ``data`` between the places."""
    return [data[start:end] for start, end in pairwise([0, *sorted(places), len(data)])]


class _Reader:
    def __init__(self, parse: Callable[[bytes], tuple[RequestHead | ResponseHead, Body]], status: int) -> None:
        self._parse = parse
        self._status = status
        self._head: RequestHead | ResponseHead | None = None
        self._body: Body | None = None
        self._content = bytearray()
        self._raw = bytearray()
        self._seen = 0
        self.messages: list[Message | int] = []

    def read(self, pieces: Iterable[bytes]) -> list[Message | int]:
        received = bytearray()
        try:
            for piece in pieces:
                received += piece
                while self._step(received):
                    pass
            if self._body:
                self._body.end()
                self._finish()
            elif received:
                self.messages.append(self._status)
        except ProtocolError as error:
            self.messages.append(error.status)
        return self.messages

    def _step(self, received: bytearray) -> bool:
        if not self._body:
            raw = take_head(received, self._status, self._seen)
            self._seen = len(received) if raw is None else 0
            if raw is None:
                return False
            self._head, self._body = self._parse(raw)
        data = bytes(received)
        count = self._body.take(memoryview(data), self._content)
        assert 0 <= count <= len(data)
        self._raw += data[:count]
        del received[:count]
        if self._body.complete:
            self._finish()
            return True
        assert not received, "a body that is not complete takes all there is"
        return False

    def _finish(self) -> None:
        self.messages.append((self._head, bytes(self._content), bytes(self._raw)))
        self._head = self._body = None
        self._content.clear()
        self._raw.clear()


def rejoined(body: Body, wire: bytes, at: int) -> bytes:
    """What a reader gets who is sent `Body.rejoin` in place of the first ``at`` bytes, and then the rest."""
    content = bytearray()
    taken = body.take(memoryview(wire)[:at], content)
    return body.rejoin(content) + wire[taken:]
