"""Looking at what changed until it is settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .seldom_log import SeldomLog

RETRY_SECONDS = 0.5
LONGEST_RETRY = 5.0  # seconds, for a name that does not settle again and again
MAX_CONCURRENT = 16  # reconciliations at a time
MAX_CHANGES = 10_000  # names that are not settled

log = logging.getLogger(__name__)


class Reconciler:
    """Calls ``reconcile`` for each name that changed: one call at a time per name, and again for a change meanwhile.

    ``reconcile`` returns whether the name is settled. If not, or if it raises OSError, it is called again after
    ``seconds``, and then after ever more, up to LONGEST_RETRY. A name beyond MAX_CHANGES is left out.
    """

    def __init__(self, reconcile: Callable[[str], Awaitable[bool]], seconds: float = RETRY_SECONDS) -> None:
        self._reconcile = reconcile
        self._seconds = seconds
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._changes: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_understood = SeldomLog(log)
        self._left_out = SeldomLog(log)

    @property
    def busy(self) -> bool:
        """Whether anything is not settled."""
        return bool(self._changes)

    def changed(self, name: str) -> None:
        """Schedule a reconciliation of ``name``."""
        change = self._changes.get(name)
        if change is None and len(self._changes) >= MAX_CHANGES:
            self._left_out.warning(
                "guest: more than %d containers change at once: others are left out until they change again",
                MAX_CHANGES,
            )
            return
        if change is None:
            change = self._changes[name] = asyncio.Event()
            task = asyncio.create_task(self._settle(name, change))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        change.set()

    async def close(self) -> None:
        """Cancel what is scheduled and stop."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, name: str, change: asyncio.Event) -> None:
        seconds = self._seconds
        try:
            while change.is_set():
                change.clear()
                if not await self._is_settled(name):
                    try:
                        await asyncio.wait_for(change.wait(), seconds)
                        seconds = self._seconds
                    except TimeoutError:
                        seconds = min(2 * seconds, max(LONGEST_RETRY, self._seconds))
                    change.set()
        finally:
            del self._changes[name]

    async def _is_settled(self, name: str) -> bool:
        """Reconcile once. A reconciliation that fails for another reason than OSError is not repeated."""
        try:
            async with self._slots:
                return await self._reconcile(name)
        except OSError as error:
            log.debug("%s", error)
            return False
        except Exception as error:
            self._not_understood.warning(
                "guest: the engine's inspection of container %s was not understood: %.200r", name[:12], error
            )
            return True
