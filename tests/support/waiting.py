"""Wait for what happens in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 10.0
POLL_SECONDS = 0.02

Result = TypeVar("Result")


def eventually(
    condition: Callable[[], Result],
    what: str,
    deadline: float = DEADLINE,
    errors: tuple[type[Exception], ...] = (OSError, ValueError),
) -> Result:
    """Return the first true result of ``condition`` within ``deadline`` seconds; one of ``errors`` is no result."""
    end = time.monotonic() + deadline
    while True:
        try:
            result = condition()
        except errors:
            pass
        else:
            if result:
                return result
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        time.sleep(POLL_SECONDS)
