"""Count what a forward has carried, and report what was added since the last report."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.handoff import Counters
from .relay import Meter


@dataclass(frozen=True)
class _Totals:
    connections: int = 0
    received: int = 0
    sent: int = 0
    dropped: int = 0


class Tally:
    """The counters of one forward; ``error`` is the last one since the last report."""

    def __init__(self, name: str) -> None:
        self.connections = 0
        self.meters = self.received, self.sent = Meter(), Meter()
        self.dropped = 0
        self.error = ""
        self._name = name
        self._reported = _Totals()
        self._reported_active = 0

    def report(self, active: int) -> Counters | None:
        """Return what was added since the last call, None if nothing changed; ``active`` connections are open."""
        now, before = _Totals(self.connections, self.received.bytes, self.sent.bytes, self.dropped), self._reported
        if now == before and not self.error and active == self._reported_active:
            return None
        self._reported, self._reported_active, error, self.error = now, active, self.error, ""
        return Counters(
            self._name,
            connections=now.connections - before.connections,
            active=active,
            received=now.received - before.received,
            sent=now.sent - before.sent,
            dropped=now.dropped - before.dropped,
            error=error,
        )
