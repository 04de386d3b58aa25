"""What went through each hop of a chain, and how fast. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..chain.trace import Chain

# What is counted: a name for people, the kind of hop, and where its facts have the number.
COUNTERS = (
    ("connections", "forward", ("connections",)),
    ("open", "forward", ("active",)),
    ("bytes in", "forward", ("received",)),
    ("bytes out", "forward", ("sent",)),
    ("DNAT packets", "nat", ("packets",)),
    ("bridge out", "bridge", ("sent_packets",)),
    ("veth in", "veth", ("outer", "sent_packets")),
    ("veth out", "veth", ("outer", "received_packets")),
)


@dataclass(frozen=True)
class Count:
    """A counter of a hop, and by how much it grew each second since the look before; None where that is not known."""

    value: int | None
    rate: float | None = None


def counts(chain: Chain) -> tuple[int | None, ...]:
    """As COUNTERS has them; None for a hop that the chain does not have, or that does not count."""
    return tuple(_fact(chain, kind, path) for _, kind, path in COUNTERS)


def _fact(chain: Chain, kind: str, path: Iterable[str]) -> int | None:
    hop = chain.hop(kind)
    found: Any = hop.facts if hop else None
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int) else None


class Meter:
    """Remembers the counters of the look before."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int | None, ...]] = {}
        self._time = 0.0

    def read(self, chains: Mapping[str, Chain], time: float) -> dict[str, list[Count]]:
        """The counters by the chains' names, seen at ``time`` (seconds)."""
        seconds = time - self._time
        now = {name: counts(chain) for name, chain in chains.items()}
        found = {
            name: [
                Count(value, _rate(value, before, seconds))
                for value, before in zip(values, self._before.get(name, (None,) * len(values)), strict=True)
            ]
            for name, values in now.items()
        }
        self._before, self._time = now, time
        return found


def _rate(value: int | None, before: int | None, seconds: float) -> float | None:
    if value is None or before is None or seconds <= 0 or value < before:
        return None
    return (value - before) / seconds
