"""Splice without waiting, even if somebody else who has the socket lets it block.

Whether splice() waits for a socket follows from the flags that all who have the socket share. A timer interrupts a call
that waits; Python would go on with it, so that the timer's handler makes it fail.
"""

from __future__ import annotations

import os
import signal

TICK_SECONDS = 1.0  # a call that blocks ends within two

_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_calls = 0  # that have begun
_running = 0  # the number of the one that runs, or 0
_seen = 0  # the one that ran at the last tick


def splice(source: int, sink: int, size: int) -> int:
    """Move at most ``size`` bytes; raise OSError, BlockingIOError if there is nothing to move or no room.

    Raise TimeoutError if the call blocked, where `end_blocked_calls` has been called.
    """
    global _calls, _running  # noqa: PLW0603 — a signal handler belongs to the process
    _calls += 1
    _running = _calls
    try:
        return os.splice(source, sink, size, flags=_FLAGS)
    finally:
        _running = 0


def end_blocked_calls(tick: float = TICK_SECONDS) -> None:
    """Interrupt, from now on, whatever call blocks in the main thread every ``tick`` seconds, by SIGALRM."""
    signal.signal(signal.SIGALRM, _tick)
    signal.setitimer(signal.ITIMER_REAL, tick, tick)


def _tick(_number: int, _frame: object) -> None:
    global _seen  # noqa: PLW0603
    if _running and _running == _seen:
        raise TimeoutError("the other side made the socket block")
    _seen = _running
