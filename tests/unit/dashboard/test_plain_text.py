from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.dashboard.plain_text import MAX_SEQUENCE, Demultiplexer, PlainTextDecoder
from portchain.http.body import ProtocolError

SPEAKING = "\x1b[1;31mréd\x1b[0m\r\nnext\x1b]0;title\x07!\x1b(B\tend\x1b[2K\n"


def taken(data: bytes, *cuts: int) -> str:
    plain, places = PlainTextDecoder(), [0, *sorted(cuts), len(data)]
    pieces = [plain.feed(data[a:b]) for a, b in pairwise(places)]
    return "".join(pieces) + plain.feed(b"", end=True)


@given(st.lists(st.integers(0, len(SPEAKING.encode())), max_size=8))
def test_sequences_go_wherever_they_are_cut(cuts: list[int]) -> None:
    assert taken(SPEAKING.encode(), *cuts) == "réd\nnext!\tend\n"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_nothing_that_controls_gets_through(data: bytes, cuts: list[int]) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in taken(data, *(min(cut, len(data)) for cut in cuts)))


def test_what_turns_text_around_goes() -> None:
    assert taken("a\u202eb\u2066c".encode()) == "abc"


def test_a_sequence_that_never_ends_is_not_kept() -> None:
    plain = PlainTextDecoder()
    assert plain.feed(b"\x1b]" + b"x" * MAX_SEQUENCE)
    assert plain.feed(b"after") == "after"


def test_sequences_that_never_end_take_no_time() -> None:
    """A log of these would have kept the dashboard from all else."""
    began = time.process_time()
    assert PlainTextDecoder().feed(b"\x1b]" * (1 << 15), end=True) == "]" * (1 << 15)
    assert time.process_time() - began < 20


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(1, 20))
def test_a_multiplexed_stream_is_put_together(printed: list[bytes], size: int) -> None:
    sent = b"".join(bytes([1 + n % 2, 0, 0, 0]) + len(one).to_bytes(4, "big") + one for n, one in enumerate(printed))
    pieces = Demultiplexer()
    found = [one for at in range(0, len(sent), size) for one in pieces.feed(sent[at : at + size])]
    assert b"".join(found) == b"".join(printed)


def test_a_stream_that_is_not_multiplexed_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not multiplexed"):
        list(Demultiplexer().feed(b"plain text"))
