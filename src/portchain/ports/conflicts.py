"""Find endpoints that cannot be listened on at the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from .forward import Endpoint

WILDCARDS = ("", "0.0.0.0", "::")


def overlap(first: str, second: str) -> bool:
    """Return whether two addresses include the same address.

    Empty is the wildcard of both families, 0.0.0.0 that of IPv4 alone, :: that of IPv6 alone.
    """
    if not first or not second or first == second:
        return True
    same_family = (":" in first) == (":" in second)
    return same_family and ("0.0.0.0" in (first, second) or "::" in (first, second))


def clash(first: Endpoint, second: Endpoint) -> bool:
    """Return whether two endpoints cannot both be listened on; port 0 stands for any free port and never clashes."""
    if first.protocol != second.protocol:
        return False
    if first.protocol == "unix":
        return first.address == second.address
    return first.port == second.port != 0 and overlap(first.address, second.address)


def _key(endpoint: Endpoint) -> tuple[str, int | str]:
    return endpoint.protocol, endpoint.address if endpoint.protocol == "unix" else endpoint.port


class Listeners:
    """The endpoints that one side, host or guest, listens on.

    Finding out whether an endpoint clashes with any of them takes no longer the more there are.
    """

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        self._by_port: defaultdict[tuple[str, int | str], dict[str, list[Endpoint]]] = defaultdict(dict)
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        """Add an endpoint."""
        self._by_port[_key(endpoint)].setdefault(endpoint.address, []).append(endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        """Remove an endpoint."""
        key = _key(endpoint)
        addresses = self._by_port[key]
        addresses[endpoint.address].remove(endpoint)
        if not addresses[endpoint.address]:
            del addresses[endpoint.address]
        if not addresses:
            del self._by_port[key]

    def clashing(self, wanted: Endpoint) -> list[Endpoint]:
        """Return the endpoints that keep ``wanted`` from being listened on."""
        return list(self._clashing(wanted))

    def first_clashing(self, wanted: Endpoint) -> Endpoint | None:
        """Return one endpoint that keeps ``wanted`` from being listened on; None if there is none."""
        return next(self._clashing(wanted), None)

    def _clashing(self, wanted: Endpoint) -> Iterator[Endpoint]:
        addresses = self._by_port.get(_key(wanted), {})
        overlapping = addresses if wanted.address in WILDCARDS else (wanted.address, *WILDCARDS)
        for address in overlapping:
            yield from (held for held in addresses.get(address, ()) if clash(held, wanted))

    def claim(self, wanted: Iterable[Endpoint]) -> Endpoint | None:
        """Add the first of ``wanted`` that is free and return it; None if none is."""
        for endpoint in wanted:
            if not self.first_clashing(endpoint):
                self.add(endpoint)
                return endpoint
        return None
