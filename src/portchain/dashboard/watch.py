"""Looks at the machine while somebody watches, and hands each of them the newest picture."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from .changes import Picture, between

SECONDS = 1.0  # between two looks, or twice as long as one takes where that is more
HEARTBEAT_SECONDS = 15.0
MAX_WATCHERS = 16

Look = Callable[[], Awaitable[Picture]]


class FullError(Exception):
    """Too many watch already."""


class Watch:
    """The newest picture, from ``look``; ``run`` it once. Nobody watching, nobody looks."""

    def __init__(self, look: Look, seconds: float = SECONDS) -> None:
        self._look = look
        self._seconds = seconds
        self._watchers = 0
        self._wanted = asyncio.Event()
        self._fresh = asyncio.Condition()
        self._number = 0
        self.picture = Picture()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            began = time.monotonic()
            picture = await self._look()
            took = time.monotonic() - began
            async with self._fresh:
                self.picture = picture
                self._number += 1
                self._fresh.notify_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self._seconds, 2 * took)):
                    await self._wanted.wait()
            if self._watchers:
                self._wanted.set()

    def hurry(self) -> None:
        """Look now: something was changed."""
        self._wanted.set()

    async def first(self, seconds: float) -> Picture:
        """A picture that is looked for from now on, or the one that there is after so many seconds."""
        self.hurry()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._after(self._number)
        return self.picture

    async def _after(self, number: int) -> int:
        async with self._fresh:
            await self._fresh.wait_for(lambda: self._number > number)
            return self._number

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """One more watches; raise FullError."""
        if self._watchers >= MAX_WATCHERS:
            raise FullError(f"{MAX_WATCHERS} pages watch already; close one")
        self._watchers += 1
        self.hurry()
        try:
            yield
        finally:
            self._watchers -= 1

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events: all of the first picture, then what changes; a comment where nothing does."""
        known, number = Picture(), 0
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    number = await self._after(number)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            picture = self.picture
            if change := between(known, picture):
                yield change.event()
            known = picture
