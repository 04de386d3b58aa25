"""The connections of a relay that ended, kept for the one that follows."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from ...net.relay import close_without_lingering
from ...protocol.packets import Message, PacketConnection

KEEP_SECONDS = 30.0
MAX_DESCRIPTORS = 12_000  # of all connections; a process may have 20 000

log = logging.getLogger(__name__)


class KeptConnections:
    """Messages that stand for connections, each with its descriptors."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Message, list[int]]] = deque()
        self._descriptors = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, message: Message, descriptors: list[int]) -> None:
        """Keep one, or let it go at once if there are too many."""
        if self._descriptors + len(descriptors) > MAX_DESCRIPTORS:
            close_without_lingering(descriptors)
            return
        self._kept.append((message, descriptors))
        self._descriptors += len(descriptors)

    def wait(self) -> None:
        """Let them go unless they are passed on within KEEP_SECONDS."""
        if self._kept:
            log.info("keeping %d connections for the relay that follows", len(self._kept))
            self._cancel()
            self._timer = asyncio.get_running_loop().call_later(KEEP_SECONDS, self.let_go)

    def pass_on(self, connection: PacketConnection) -> None:
        """Send them; raise OSError, BlockingIOError if the connection has no room for the others now."""
        while self._kept:
            connection.send(*self._kept[0])
            self._drop_first()
        self._cancel()

    def let_go(self) -> None:
        """Close them."""
        self._cancel()
        while self._kept:
            self._drop_first()

    def _drop_first(self) -> None:
        _, descriptors = self._kept.popleft()
        self._descriptors -= len(descriptors)
        close_without_lingering(descriptors)

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
