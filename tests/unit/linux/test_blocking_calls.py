"""Calls that may block, beside an event loop that must not."""

from __future__ import annotations

import threading

import pytest

from portchain.linux.blocking_calls import BlockingCalls
from support.http_parties import in_loop


@in_loop
async def test_what_a_call_returns_and_raises():
    calls = BlockingCalls()
    assert await calls.run(lambda: 1, "this") == 1
    with pytest.raises(ZeroDivisionError):
        await calls.run(lambda: 1 // 0, "this")


@in_loop
async def test_a_call_that_hangs_is_given_up_and_keeps_its_thread_only():
    release = threading.Event()
    calls = BlockingCalls(threads=2, seconds=0.5)
    with pytest.raises(TimeoutError, match=r"^the share does not answer within 0\.5 s$"):
        await calls.run(release.wait, "the share")
    assert await calls.run(lambda: 1, "this") == 1
    with pytest.raises(TimeoutError):
        await calls.run(release.wait, "the share")
    with pytest.raises(TimeoutError):  # both threads hang
        await calls.run(lambda: 1, "this")
    release.set()
    assert await calls.run(lambda: 1, "this") == 1
