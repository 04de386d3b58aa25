"""A container's publications: as the client asked for them, and as the guest's engine is asked for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...ports.conflicts import Listeners
from ...ports.forward import Endpoint
from ...ports.planning import FORWARDED, GuestPlanner
from ...ports.syntax import ANY_PORT, PortRange, parse_address, parse_port

MAX_OF_CONTAINER = 16_384  # publications


@dataclass(frozen=True)
class ContainerPublication:
    """One publication of a container and its endpoint in the guest.

    ``key``, ``ip`` and ``port`` are as the client wrote them; the engine is asked for ``guest`` instead. ``of_all``
    tells that the client asked for all exposed ports (``docker run -P``) and this is one of them.
    """

    key: str
    ip: str
    port: str
    guest: Endpoint
    of_all: bool = False

    @classmethod
    def read(cls, key: str, binding: Mapping[str, Any], of_all: bool = False) -> ContainerPublication | None:
        """Read a binding of the engine's ``{"80/tcp": [{"HostIp": …, "HostPort": …}]}``, without a guest address yet.

        Return None for a protocol that is not forwarded. Raise ValueError for a binding that the engine would refuse.
        """
        ip, port = binding.get("HostIp") or "", binding.get("HostPort") or ""
        return cls.of(key, ip, port, Endpoint(split_key(key)[1], ""), of_all)

    @classmethod
    def of(cls, key: str, ip: str, port: str, guest: Endpoint, of_all: bool = False) -> ContainerPublication | None:
        """Make a publication; return None or raise ValueError as `read` does."""
        if not (isinstance(ip, str) and isinstance(port, str)):
            raise ValueError(f"{ip!r}, {port!r}: not text")
        parse_address(ip)
        PortRange.parse(port)
        return cls(key, ip, port, guest, of_all) if guest.protocol in FORWARDED else None

    @property
    def container(self) -> int:
        """The container's port."""
        return split_key(self.key)[0]

    @property
    def protocol(self) -> str:
        """The protocol, ``tcp`` or ``udp``."""
        return split_key(self.key)[1]

    @property
    def canonical(self) -> str:
        """The container's port as the engine writes it: ``80/tcp``."""
        return f"{self.container}/{self.protocol}"

    @property
    def ports(self) -> PortRange:
        """The host ports, of which any one will do."""
        return PortRange.parse(self.port)

    @property
    def address(self) -> str:
        """The host address, empty for the wildcard of both families."""
        return parse_address(self.ip)

    @property
    def explicit(self) -> Endpoint | None:
        """The endpoint on the host; None if there is a choice of ports."""
        ports = self.ports
        return Endpoint(self.protocol, self.address, ports.first) if ports.first == ports.last != 0 else None


def split_key(key: str) -> tuple[int, str]:
    """Split ``80/tcp`` or ``80`` into port and protocol; raise ValueError."""
    port, _, protocol = key.partition("/")
    return parse_port(port), protocol.lower() or "tcp"


def assign_guest_endpoints(
    asked: Sequence[ContainerPublication], others: Iterable[ContainerPublication], taken: Iterable[Endpoint] = ()
) -> list[ContainerPublication]:
    """Assign each publication its endpoint in the guest.

    An explicit host port keeps its number if that is free in the guest. Any other gets 127.0.0.1 and a port from 55000
    up, the highest container port first. ``others`` are the publications of all other containers; those that want the
    same host port cannot run beside this one, so their guest endpoints may be shared. ``taken`` are other listeners in
    the guest. Two publications of this container that clash on the host share an endpoint, for the engine to refuse.
    Raise ValueError if the guest has no port left.
    """
    wanted = Listeners(publication.explicit for publication in asked if publication.explicit)
    in_use = [o.guest for o in others if not ((listen := o.explicit) and wanted.first_clashing(listen))]
    planner = GuestPlanner([*taken, *in_use])
    assigned_listeners, guest_endpoints = Listeners(), dict[Endpoint, Endpoint]()
    assigned: dict[int, ContainerPublication] = {}
    for index in sorted(range(len(asked)), key=lambda i: (not asked[i].explicit, -asked[i].container)):
        publication = asked[index]
        if listen := publication.explicit:
            twin = assigned_listeners.first_clashing(listen)
            address = publication.address or "0.0.0.0"
            guest = guest_endpoints[twin] if twin else planner.claim(publication.protocol, address, listen.port)
            assigned_listeners.add(listen)
            guest_endpoints[listen] = guest
        else:
            guest = planner.claim(publication.protocol)
        assigned[index] = replace(publication, guest=guest)
    return [assigned[index] for index in range(len(asked))]


def in_allocation_order(published: Iterable[ContainerPublication]) -> list[ContainerPublication]:
    """Return publications in the order in which they get host ports.

    Explicit ports come first, then the smallest ranges, then the rest by name, beginning with the highest container
    port and going round.
    """
    by_name = sorted(published, key=lambda p: p.canonical)
    highest = max((p.container for p in by_name), default=0)
    first = next((i for i, p in enumerate(by_name) if p.container == highest), 0)
    return sorted(by_name[first:] + by_name[:first], key=_count_choices)


def _count_choices(published: ContainerPublication) -> int:
    ports = published.ports
    return 65536 if ports == ANY_PORT else len(ports.numbers)
