"""Which endpoints cannot be listened on at the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from .forward import Endpoint


def overlap(one: str, other: str) -> bool:
    """Whether two addresses share one to listen on.

    Empty is the wildcard of both families, 0.0.0.0 that of IPv4 alone, :: that of IPv6 alone.
    """
    if not one or not other or one == other:
        return True
    same_family = (":" in one) == (":" in other)
    return same_family and ("0.0.0.0" in (one, other) or "::" in (one, other))


def clash(one: Endpoint, other: Endpoint) -> bool:
    """Whether two endpoints cannot both be listened on; port 0 stands for any free port and clashes with none."""
    if one.protocol != other.protocol:
        return False
    if one.protocol == "unix":
        return one.address == other.address
    return one.port == other.port != 0 and overlap(one.address, other.address)


def conflicts(endpoints: Iterable[Endpoint]) -> list[tuple[Endpoint, Endpoint]]:
    """All pairs that clash, each in the order given."""
    listeners = Listeners()
    pairs: list[tuple[Endpoint, Endpoint]] = []
    for endpoint in endpoints:
        pairs += [(holder, endpoint) for holder in listeners.clashing(endpoint)]
        listeners.add(endpoint)
    return pairs


def _key(endpoint: Endpoint) -> tuple[str, int | str]:
    return endpoint.protocol, endpoint.address if endpoint.protocol == "unix" else endpoint.port


class Listeners:
    """The endpoints listened on at one side."""

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self._by_port: defaultdict[tuple[str, int | str], list[Endpoint]] = defaultdict(list)
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        """Listen on one more."""
        self._by_port[_key(endpoint)].append(endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        """Listen on one no more."""
        key = _key(endpoint)
        self._by_port[key].remove(endpoint)
        if not self._by_port[key]:
            del self._by_port[key]

    def clashing(self, wanted: Endpoint) -> list[Endpoint]:
        """Those that keep ``wanted`` from being listened on."""
        return [held for held in self._by_port.get(_key(wanted), ()) if clash(held, wanted)]

    def claim(self, wanted: Iterable[Endpoint]) -> Endpoint | None:
        """Listen on the first of ``wanted`` that is free; None if none is."""
        for endpoint in wanted:
            if not self.clashing(endpoint):
                self.add(endpoint)
                return endpoint
        return None
