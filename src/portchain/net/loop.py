"""An epoll loop: level-triggered handlers and one-shot timers."""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable


class Loop:
    """Calls the handler of each watched descriptor with its events. Not thread-safe."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._closing: list[socket.socket] = []
        self.stopped = False

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call ``handler`` with the events of ``fd`` in ``mask``, and with errors and hang-ups, from now on."""
        if fd in self._handlers:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``; do nothing if it is not watched."""
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Stop watching a socket and close it after this round, so that its number is not reused within the round."""
        self.forget(sock.fileno())
        self._closing.append(sock)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Call ``call`` once, ``delay`` seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._sequence), call))

    def run(self) -> None:
        """Run until `stopped` is set by a handler or a timer."""
        while not self.stopped:
            self.run_once()

    def run_once(self, timeout: float = -1) -> None:
        """Wait at most ``timeout`` seconds (-1: for ever) for events, then handle them and the timers that are due."""
        if self._timers:
            until = max(0.0, self._timers[0][0] - time.monotonic())
            timeout = until if timeout < 0 else min(until, timeout)
        for fd, mask in self._epoll.poll(timeout):
            handler = self._handlers.get(fd)
            if handler:
                handler(mask)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        while self._closing:
            self._closing.pop().close()
