"""Planning forwards for publications, as Docker Desktop does."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from .conflict import Listeners
from .forward import Endpoint, Forward
from .publication import Publication
from .words import ANY_PORT, PortRange

GUEST_PORTS = range(55000, 65536)
HOST_PORTS = range(49152, 65536)
LOOPBACK = "127.0.0.1"
FORWARDED = ("tcp", "udp")
_WILDCARDS = ("", "0.0.0.0")


@dataclass(frozen=True)
class Planned:
    """What was asked for, what the guest's engine is asked for instead, and the forward from the host to that."""

    publication: Publication
    guest: Publication
    forward: Forward


def plan(
    publications: Iterable[Publication],
    *,
    host_taken: Iterable[Endpoint] = (),
    guest_taken: Iterable[Endpoint] = (),
    guest_addresses: Collection[str] = (),
    known: Iterable[Forward] = (),
) -> list[Planned]:
    """Plan a forward for each publication; the list has the order of ``publications``.

    A port asked for keeps its number in the guest unless the guest has it taken. Any other port becomes 127.0.0.1 and a
    port from 55000 up in the guest, given out as the engine does, highest container port first; on the host it gets the
    port of the ``known`` forward to that target, or else one from 49152 up. A host address that is not among
    ``guest_addresses`` becomes 127.0.0.1 in the guest. What ``known`` listens on is no hindrance among ``host_taken``.
    Raise ValueError, a line for each publication that cannot be had.
    """
    wanted = list(publications)
    planner = _Planner(list(known), host_taken, guest_taken, guest_addresses)
    planned: dict[int, Planned] = {}
    problems: list[str] = []
    for index in sorted(range(len(wanted)), key=lambda index: _turn(wanted[index])):
        try:
            planned[index] = planner.plan(wanted[index])
        except ValueError as error:
            problems.append(f"publication {wanted[index]}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return [planned[index] for index in range(len(wanted))]


def _turn(publication: Publication) -> tuple[int, int, bool]:
    """Ports asked for come first, then the choice of a range, then any port."""
    choices = len(publication.host.numbers) if publication.host != ANY_PORT else len(HOST_PORTS)
    return choices, -publication.container, publication.protocol != "tcp"


class GuestPlanner:
    """Gives out the guest's ports: ``taken`` is listened on there already, ``addresses`` are the guest's own."""

    def __init__(self, taken: Iterable[Endpoint] = (), addresses: Collection[str] = ()) -> None:
        self._listeners = Listeners(taken)
        self._addresses = addresses
        self._free = {p: iter(GUEST_PORTS) for p in FORWARDED}

    def claim(self, protocol: str, address: str = "", port: int = 0) -> Endpoint:
        """The endpoint asked for where the guest has it free, else 127.0.0.1 and a port from 55000 up.

        Raise ValueError when none is left.
        """
        asked = [Endpoint(protocol, address if self._has(address) else LOOPBACK, port)] if port else []
        free = (Endpoint(protocol, LOOPBACK, number) for number in self._free[protocol])
        found = self._listeners.claim(chain(asked, free))
        if found is None:
            raise ValueError(f"no {protocol} port from {GUEST_PORTS[0]} up is free in the guest")
        return found

    def _has(self, address: str) -> bool:
        if address in _WILDCARDS or address in self._addresses:
            return True
        return ":" not in address and ipaddress.IPv4Address(address).is_loopback


def target_of(inside: Endpoint) -> Endpoint:
    """Where in the guest an endpoint that is listened on there is reached."""
    return replace(inside, address=LOOPBACK) if inside.address in _WILDCARDS else inside


def _host_ports(protocol: str, reserved: Collection[tuple[str, int]]) -> Iterator[int]:
    """The numbers to give out, from the first up."""
    return (number for number in HOST_PORTS if (protocol, number) not in reserved)


class _Planner:
    """The two sides' listeners, and the ports that are still to be given out."""

    def __init__(
        self,
        known: list[Forward],
        host_taken: Iterable[Endpoint],
        guest_taken: Iterable[Endpoint],
        guest_addresses: Collection[str],
    ) -> None:
        ours = Listeners(forward.listen for forward in known)
        self._known = known
        self._host = Listeners(endpoint for endpoint in host_taken if not ours.clashing(endpoint))
        self._guest = GuestPlanner(guest_taken, guest_addresses)
        reserved = {(forward.listen.protocol, forward.listen.port) for forward in known}
        self._host_ports = {p: _host_ports(p, reserved) for p in FORWARDED}

    def plan(self, asked: Publication) -> Planned:
        """Claim both ends; raise ValueError where a side has none left."""
        if asked.protocol not in FORWARDED:
            raise ValueError(f"{asked.protocol} is not forwarded to the host; one of {', '.join(FORWARDED)}")
        if asked.host == ANY_PORT:
            inside = self._guest.claim(asked.protocol)
            listen = self._claim_host(asked, self._choices(asked, inside))
        else:
            listen = self._claim_host(asked, (Endpoint(asked.protocol, asked.address, n) for n in asked.host.numbers))
            inside = self._guest.claim(asked.protocol, asked.address, listen.port)
        guest = Publication(asked.container, asked.protocol, inside.address, PortRange(inside.port, inside.port))
        return Planned(asked, guest, Forward(listen, target_of(inside)))

    def _claim_host(self, asked: Publication, choices: Iterable[Endpoint]) -> Endpoint:
        found = self._host.claim(choices)
        if found is None and asked.host == ANY_PORT:
            raise ValueError(f"no {asked.protocol} port from {HOST_PORTS[0]} up is free on the host")
        if found is None:
            wanted = [Endpoint(asked.protocol, asked.address, port) for port in asked.host.numbers]
            holders = sorted({str(holder) for endpoint in wanted for holder in self._host.clashing(endpoint)})
            raise ValueError(f"host port {asked.host} is taken by {', '.join(holders)}")
        return found

    def _choices(self, asked: Publication, inside: Endpoint) -> Iterator[Endpoint]:
        before = (f.listen for f in self._known if f.target == inside and f.listen.address == asked.address)
        ports = self._host_ports[asked.protocol]
        return chain(before, (Endpoint(asked.protocol, asked.address, port) for port in ports))
