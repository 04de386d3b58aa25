"""Collect pictures of the machine while pages are open, and pass the newest to each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from .page_changes import Picture, changes_between

SECONDS = 1.0  # between two looks, or twice as long as one takes where that is more
HEARTBEAT_SECONDS = 15.0
MAX_WATCHERS = 16

PictureSource = Callable[[], Awaitable[Picture]]


class FullError(Exception):
    """Raised where too many pages or programs are open already."""


class Watch:
    """The newest picture from a source, collected only while a page is watching; ``run`` it once."""

    def __init__(
        self, source: PictureSource, seconds: float = SECONDS, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self._look = source
        self._seconds = seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._watchers = 0
        self._wanted = asyncio.Event()
        self._fresh = asyncio.Condition()
        self._number = 0
        self.picture = Picture()

    async def run(self) -> None:
        """Collect again and again, until cancelled."""
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

    def refresh(self) -> None:
        """Collect now, because something was changed."""
        self._wanted.set()

    async def fresh_picture(self, seconds: float) -> Picture:
        """Return a picture collected from now on, or the newest there is after ``seconds``."""
        self.refresh()
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
        """Count one more page as watching in this context; raise FullError."""
        if self._watchers >= MAX_WATCHERS:
            raise FullError(f"{MAX_WATCHERS} pages watch already; close one")
        self._watchers += 1
        self.refresh()
        try:
            yield
        finally:
            self._watchers -= 1

    async def events(self) -> AsyncIterator[str]:
        """Yield server-sent events: the whole first picture, then changes; a comment where nothing changes."""
        known, number = Picture(), 0
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    number = await self._after(number)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            picture = self.picture
            if change := changes_between(known, picture):
                yield change.event()
            known = picture
