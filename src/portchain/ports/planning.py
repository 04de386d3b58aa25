"""Plan where the host and the guest listen for publications."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import chain

from .conflicts import Listeners
from .forward import Endpoint
from .publication import Publication
from .syntax import ANY_PORT

GUEST_PORTS = range(55000, 65536)
HOST_PORTS = range(49152, 65536)
LOOPBACK = "127.0.0.1"
FORWARDED = ("tcp", "udp")
_WILDCARDS = ("", "0.0.0.0")


@dataclass(frozen=True)
class PlannedListener:
    """A container's publication, and where the host listens for it; None if the port is still to be chosen."""

    container: str
    publication: Publication
    listen: Endpoint | None


def plan(publications: Iterable[tuple[str, Publication]], host_taken: Iterable[Endpoint] = ()) -> list[PlannedListener]:
    """Plan the host's listeners for publications, each given with its container's name; keep their order.

    Raise ValueError with a line for each publication that clashes with others or with ``host_taken``.
    """
    wanted = list(publications)
    host = Listeners(host_taken)
    problems = []
    # Single ports come before ranges. A publication that leaves the port open always gets one.
    for container, publication in sorted(wanted, key=lambda entry: len(entry[1].host.numbers)):
        if publication.host == ANY_PORT:
            continue
        choices = [Endpoint(publication.protocol, publication.address, port) for port in publication.host.numbers]
        if host.claim(choices) is None:
            holders = sorted({str(holder) for endpoint in choices for holder in host.clashing(endpoint)})
            clash = f"host port {publication.host} is taken by {', '.join(holders)}"
            problems.append(f"container {container}: publication {publication}: {clash}")
    if problems:
        raise ValueError("\n".join(problems))
    return [PlannedListener(container, publication, publication.listen) for container, publication in wanted]


class GuestPlanner:
    """Gives out the guest's ports: ``taken`` are in use already, ``addresses`` are the guest's own."""

    def __init__(self, taken: Iterable[Endpoint] = (), addresses: Collection[str] = ()) -> None:
        self._listeners = Listeners(taken)
        self._addresses = addresses
        self._free = {protocol: iter(GUEST_PORTS) for protocol in FORWARDED}

    def claim(self, protocol: str, address: str = "", port: int = 0) -> Endpoint:
        """Claim the endpoint asked for if the guest has it free, else 127.0.0.1 and a port from 55000 up.

        Raise ValueError if none is left.
        """
        requested = [Endpoint(protocol, address if self._has_address(address) else LOOPBACK, port)] if port else []
        free = (Endpoint(protocol, LOOPBACK, number) for number in self._free[protocol])
        endpoint = self._listeners.claim(chain(requested, free))
        if endpoint is None:
            raise ValueError(f"no {protocol} port from {GUEST_PORTS[0]} up is free in the guest")
        return endpoint

    def _has_address(self, address: str) -> bool:
        if address in _WILDCARDS or address in self._addresses:
            return True
        return ":" not in address and ipaddress.IPv4Address(address).is_loopback


def target_of(listener: Endpoint) -> Endpoint:
    """Return the endpoint at which a listener in the guest is reached from within the guest."""
    return replace(listener, address=LOOPBACK) if listener.address in _WILDCARDS else listener
