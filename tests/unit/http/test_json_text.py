"""JSON within limits, and its turns of the loop."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from portchain.http.json_text import MAX_VALUES, TooMuchJsonError, count_values, parse
from portchain.http.turns import Turns
from support.http_parties import in_loop

CONTAINER = {
    "Id": "0" * 64,
    "Labels": {f"com.docker.compose.{number}": "x" * 30 for number in range(14)},
    "Ports": [{"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}] * 4,
    "NetworkSettings": {"Networks": {"bridge": {str(number): "" for number in range(16)}}},
    "Mounts": [{str(number): "" for number in range(8)}] * 2,
}


def test_a_list_of_many_containers_is_parsed():
    text = json.dumps([CONTAINER] * 2000).encode()
    assert len(parse(text)) == 2000


@pytest.mark.parametrize("text", [b"[" + b"[]," * MAX_VALUES + b"[]]", b"[" * 100_000, b'["%s"]' % bytes(17 << 20)])
def test_what_would_take_too_long_is_refused_at_once(text: bytes):
    began = time.monotonic()
    with pytest.raises(TooMuchJsonError):
        parse(text)
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"-Infinity", b"9" * 5000, b"", b"[", b'"\xff"'])
def test_what_is_no_json_is_refused(text: bytes):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize("value", [[], {}, [[[]]], {"a": [1, 2, {"b": None}]}, "x", [CONTAINER]])
def test_no_document_has_more_values_than_are_counted(value: object):
    def count(one: object) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        return 1 + sum(map(count, inner))

    assert count_values(json.dumps(value).encode()) >= count(value)


@in_loop
async def test_long_documents_leave_most_of_the_time_to_others():
    turns, text = Turns(), b"," * 10_000
    began = time.monotonic()

    async def work() -> None:
        async with turns.turn(text):
            time.sleep(0.02)

    await asyncio.gather(*(work() for _ in range(3)))
    assert time.monotonic() - began > 0.02 + 2 * (0.06 + 0.02) - 0.01
    async with turns.turn(b"[]"):
        pass
