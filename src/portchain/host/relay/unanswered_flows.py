"""Find UDP flows whose target is gone, or that began before it was there, and tell the guest of them."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable

from ...net.loop import Loop

ANSWER_SECONDS = 0.5
PAUSE_SECONDS = 0.1
BATCH_SIZE = 100  # flows


class UdpFlow:
    """A connected socket. ``answered`` since the last check: True, False if it was only refused, None for neither."""

    __slots__ = ("answered", "sock", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting = False
        self.answered: bool | None = None


class UnansweredFlows:
    """Calls ``report`` with the socket of a flow that is refused or not answered, and whether it was refused."""

    def __init__(self, loop: Loop, report: Callable[[socket.socket, bool], None]) -> None:
        self._loop = loop
        self._report = report
        self._waiting: deque[tuple[float, UdpFlow]] = deque()

    def on_sent(self, flow: UdpFlow) -> None:
        """Have the flow, to which a datagram was sent, checked after ANSWER_SECONDS."""
        if flow.waiting:
            return
        flow.waiting, flow.answered = True, None
        self._waiting.append((time.monotonic() + ANSWER_SECONDS, flow))
        if len(self._waiting) == 1:
            self._loop.later(ANSWER_SECONDS, self._check)

    def _check(self) -> None:
        now = time.monotonic()
        for _ in range(BATCH_SIZE):
            if not self._waiting or self._waiting[0][0] > now:
                break
            _, flow = self._waiting.popleft()
            flow.waiting = False
            if not flow.answered and flow.sock.fileno() >= 0:
                self._report(flow.sock, flow.answered is False)
        if self._waiting:
            self._loop.later(PAUSE_SECONDS, self._check)
