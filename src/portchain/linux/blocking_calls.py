"""Run calls that may block, such as on a network file system, in threads, and wait for each up to a deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

THREADS = 32
SECONDS = 10.0


class BlockingCalls:
    """Runs each call in a thread of its own, at most ``threads`` at a time.

    The threads do not keep the process from ending; a call that is not waited for any more keeps its thread until it
    returns.
    """

    def __init__(self, threads: int = THREADS, seconds: float = SECONDS) -> None:
        self._room = asyncio.Semaphore(threads)
        self._seconds = seconds

    async def run(self, call: Callable[[], T], what: str) -> T:
        """Return what ``call`` returns; raise what it raises, and TimeoutError that says ``what`` does not answer."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        try:
            async with asyncio.timeout(self._seconds):
                await self._room.acquire()
                threading.Thread(target=self._call, args=(loop, result, call), daemon=True).start()
                return await result
        except TimeoutError:
            raise TimeoutError(f"{what} does not answer within {self._seconds:g} s") from None

    def _call(self, loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], call: Callable[[], T]) -> None:
        value: T | None = None
        error: Exception | None = None
        try:
            value = call()
        except Exception as raised:
            error = raised

        def settle() -> None:
            self._room.release()
            if result.done():
                return
            if error is None:
                result.set_result(value)  # type: ignore[arg-type]
            else:
                result.set_exception(error)

        if not loop.is_closed():
            loop.call_soon_threadsafe(settle)
