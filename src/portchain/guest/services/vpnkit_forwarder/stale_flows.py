"""Have conntrack forget UDP flows that began before their target's nat rule existed, or whose target is gone.

Conntrack decides on a flow's translation at its first datagram only. A flow that began while the container of a
published port was away has no translation, and every further datagram keeps it so: its client would never be answered.
"""

from __future__ import annotations

import logging
import time

from ....net.conntrack import Conntrack
from ....ports.forward import Endpoint
from ....protocol.lending import Unanswered

RETRY_SECONDS = 60.0

log = logging.getLogger(__name__)


class StaleFlows:
    """Has conntrack forget flows that are refused, or neither answered nor translated, so that they begin anew.

    This is harmless to a flow whose target needs no translation.
    """

    def __init__(self) -> None:
        self._conntrack: Conntrack | None = None
        self._paused_until = 0.0

    def check(self, flow: Unanswered) -> None:
        """Have the flow forgotten if it is stale."""
        now = time.monotonic()
        if now < self._paused_until:
            return
        try:
            source, target = Endpoint.parse(flow.source), Endpoint.parse(flow.target)
            self._conntrack = self._conntrack or Conntrack()
            if flow.refused or self._conntrack.translated(source, target) is False:
                self._conntrack.forget(source, target)
        except (OSError, ValueError) as error:
            log.warning("clients of udp ports may be cut off by a restart of their server: %s", error)
            self._paused_until = now + RETRY_SECONDS
