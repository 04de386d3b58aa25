"""Let long work take turns with everything else in the event loop: one piece at a time, and a pause after each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .json_text import count_values

LONG = 10_000  # values of a document from which on reading and writing it is long work: some 10 ms
REST = 3.0  # times what a piece took


class Turns:
    """Has long documents processed one after the other, in at most a quarter of the event loop's time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._rested = 0.0

    @asynccontextmanager
    async def turn(self, text: bytes) -> AsyncIterator[None]:
        """Wait until it is this document's turn, if it is long. The block must not await anything."""
        if count_values(text) < LONG:
            yield
            return
        async with self._lock:
            await asyncio.sleep(self._rested - time.monotonic())
            began = time.monotonic()
            try:
                yield
            finally:
                now = time.monotonic()
                self._rested = now + REST * (now - began)
