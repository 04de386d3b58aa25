"""A container's publications, as asked for and as the guest's engine has them, kept in its labels. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..mapping.conflict import Listeners
from ..mapping.forward import Endpoint
from ..mapping.plan import FORWARDED, GuestPlanner
from ..mapping.words import ANY_PORT, PortRange, bracketed, parse_address, parse_port

LABEL = "io.portchain.ports"
DESKTOP = "desktop.docker.io/ports"
SCHEME = "v2"


@dataclass(frozen=True)
class Published:
    """One publication: ``ip`` and ``port`` as the client wrote them, ``guest`` as the engine was asked instead.

    ``of_all``: the client asked for all exposed ports (``docker run -P``), this one is among them.
    """

    container: int
    protocol: str
    ip: str
    port: str
    guest: Endpoint
    of_all: bool = False

    @classmethod
    def read(cls, key: str, binding: Mapping[str, Any], of_all: bool = False) -> Published | None:
        """From the engine's ``{"80/tcp": [{"HostIp": …, "HostPort": …}]}``, its place in the guest still open.

        None for a protocol that is not forwarded. Raise ValueError for what the engine would refuse.
        """
        container, protocol = split_key(key)
        ip, port = str(binding.get("HostIp") or ""), str(binding.get("HostPort") or "")
        parse_address(ip)
        PortRange.parse(port)
        if protocol not in FORWARDED:
            return None
        return cls(container, protocol, ip, port, Endpoint(protocol, ""), of_all)

    @property
    def key(self) -> str:
        """The engine's word for the container's port: ``80/tcp``."""
        return f"{self.container}/{self.protocol}"

    @property
    def ports(self) -> PortRange:
        """The host ports of which one is wanted."""
        return PortRange.parse(self.port)

    @property
    def address(self) -> str:
        """The host address, empty for the wildcard of both families."""
        return parse_address(self.ip)

    @property
    def explicit(self) -> Endpoint | None:
        """The endpoint on the host; None where there is a choice of ports."""
        ports = self.ports
        return Endpoint(self.protocol, self.address, ports.first) if ports.first == ports.last != 0 else None


def split_key(key: str) -> tuple[int, str]:
    """``80/tcp`` or ``80`` as port and protocol; raise ValueError."""
    port, _, protocol = key.partition("/")
    return parse_port(port), protocol.lower() or "tcp"


def plan(asked: Sequence[Published], others: Iterable[Published], taken: Iterable[Endpoint] = ()) -> list[Published]:
    """Give each publication its place in the guest: an explicit port its own number where that is free there, any
    other 127.0.0.1 and a port from 55000 up, the highest container port first.

    ``others`` are the publications of all other containers; those that want the same host port cannot run beside this
    one, so their places in the guest may be shared. ``taken`` is what else is listened on there. Raise ValueError when
    the guest has no port left.
    """
    wanted = Listeners(one.explicit for one in asked if one.explicit)
    in_use = [o.guest for o in others if not (o.explicit and wanted.clashing(o.explicit))]
    planner = GuestPlanner([*taken, *in_use])
    found: dict[int, Published] = {}
    for index in sorted(range(len(asked)), key=lambda i: (not asked[i].explicit, -asked[i].container)):
        one = asked[index]
        place = (one.address or "0.0.0.0", one.explicit.port) if one.explicit else ()
        found[index] = replace(one, guest=planner.claim(one.protocol, *place))
    return [found[index] for index in range(len(asked))]


def labels(published: Iterable[Published]) -> dict[str, str]:
    """The labels that keep ``published``: ours, and Docker Desktop's for the tools that read those."""
    rows: list[list[object]] = []
    desktop: defaultdict[str, list[str]] = defaultdict(list)
    for one in published:
        row = [one.key, one.ip, one.port, one.guest.address, one.guest.port]
        rows.append([*row, True] if one.of_all else row)
        desktop[one.key].append(f"{bracketed(one.ip)}:{one.port}")
    if not rows:
        return {}
    return {
        LABEL: json.dumps(rows, separators=(",", ":")),
        f"{DESKTOP}.scheme": SCHEME,
        **{f"{DESKTOP}/{key}": ",".join(places) for key, places in desktop.items()},
    }


def read_labels(found: Mapping[str, str] | None) -> list[Published]:
    """What `labels` kept; empty for labels that are not ours or were damaged."""
    text = (found or {}).get(LABEL)
    if not text:
        return []
    try:
        return [_read_row(row) for row in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _read_row(row: list[Any]) -> Published:
    key, ip, port, guest_ip, guest_port, *rest = row
    container, protocol = split_key(key)
    if protocol not in FORWARDED:
        raise ValueError(f"{protocol}: not forwarded")
    guest = Endpoint(protocol, parse_address(guest_ip), parse_port(str(guest_port)))
    parse_address(ip)
    PortRange.parse(port)
    return Published(container, protocol, ip, port, guest, bool(rest and rest[0]))


def in_turn(published: Iterable[Published]) -> list[Published]:
    """The order in which the host's ports are given out: ports asked for, then those with the least choice, then the
    rest by name, beginning with the highest port and going round."""
    rest = sorted(published, key=lambda p: p.key)
    highest = max((p.container for p in rest), default=0)
    first = next((i for i, p in enumerate(rest) if p.container == highest), 0)
    return sorted(rest[first:] + rest[:first], key=_choices)


def _choices(published: Published) -> int:
    ports = published.ports
    return 65536 if ports == ANY_PORT else len(ports.numbers)
