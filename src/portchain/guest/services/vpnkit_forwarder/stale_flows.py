"""Find UDP flows that began before their target's nat rule existed, or whose target is gone.

Conntrack decides on a flow's translation at its first datagram only. A flow that began while the container of a
published port was away has no translation, and every further datagram keeps it so: its client would never be answered.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import deque

from ....net.conntrack import Conntrack
from ....net.loop import Loop

ANSWER_SECONDS = 0.5
PAUSE_SECONDS = 0.1
BATCH_SIZE = 100  # flows, 20 us each
RETRY_SECONDS = 60.0

log = logging.getLogger(__name__)


class UdpFlow:
    """A connected socket. ``answered`` since the last check: True, False if it was only refused, None for neither."""

    __slots__ = ("answered", "sock", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting = False
        self.answered: bool | None = None


class StaleFlows:
    """Has conntrack forget flows that are refused, or neither answered nor translated, so that they begin anew.

    This is harmless to a flow whose target needs no translation.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[float, UdpFlow]] = deque()
        self._conntrack: Conntrack | None = None
        self._paused_until = 0.0

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
            if not flow.answered and flow.sock.fileno() >= 0 and now >= self._paused_until:
                self._forget_if_stale(flow, now)
        if self._waiting:
            self._loop.later(PAUSE_SECONDS, self._check)

    def _forget_if_stale(self, flow: UdpFlow, now: float) -> None:
        try:
            self._conntrack = self._conntrack or Conntrack()
            if flow.answered is False or self._conntrack.translated(flow.sock) is False:
                self._conntrack.forget(flow.sock)
        except OSError as error:
            log.warning("clients of udp ports may be cut off by a restart of their server: %s", error)
            self._paused_until = now + RETRY_SECONDS
