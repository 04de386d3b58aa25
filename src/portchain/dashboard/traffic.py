"""The traffic through each hop of a chain, and its rate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..trace.chain import Chain

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
    """A hop's counter and its growth each second since the last reading; None where it is not known."""

    value: int | None
    rate: float | None = None


def counts(chain: Chain) -> tuple[int | None, ...]:
    """Return the counters in the order of COUNTERS; None for a hop that is missing or does not count."""
    return tuple(_fact(chain, kind, path) for _, kind, path in COUNTERS)


def _fact(chain: Chain, kind: str, path: Iterable[str]) -> int | None:
    hop = chain.hop(kind)
    value: Any = hop.facts if hop else None
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else None


class RateMeter:
    """Computes rates from the counters of the reading before."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int | None, ...]] = {}
        self._time = 0.0

    def read(self, chains: Mapping[str, Chain], time: float) -> dict[str, list[Count]]:
        """Return the counters by the chains' names, as read at ``time`` (seconds)."""
        seconds = time - self._time
        current = {name: counts(chain) for name, chain in chains.items()}
        counters = {
            name: [
                Count(value, _rate(value, previous, seconds))
                for value, previous in zip(values, self._before.get(name, (None,) * len(values)), strict=True)
            ]
            for name, values in current.items()
        }
        self._before, self._time = current, time
        return counters


def _rate(value: int | None, previous: int | None, seconds: float) -> float | None:
    if value is None or previous is None or seconds <= 0 or value < previous:
        return None
    return (value - previous) / seconds
