"""What does not go together: ids, ports and subnets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from ..guest.subids import Range, owner
from ..mapping.conflict import clash
from .guest import LEAST_IDS, Guest

DOCKER0 = ("docker0, the engine's own bridge", ipaddress.ip_network("172.17.0.0/16"), "172.17.0.1")


def overlapping_ids(guests: Sequence[Guest], reserved: Mapping[str, Sequence[Range]]) -> Iterator[str]:
    """Guests whose ids are another's. ``reserved`` has the ranges in /etc/subuid and /etc/subgid, by file."""
    wanted = [(guest, found) for guest in guests if (found := _range(guest))]
    owners = {range_.owner for _, range_ in wanted}
    taken = [range_ for ranges in reserved.values() for range_ in ranges] + [range_ for _, range_ in wanted]
    way_out = f"set guest_uid_base to a free one, such as {_free_base(taken)}"
    for (one, ids), (other, other_ids) in combinations(wanted, 2):
        if ids.overlaps(other_ids):
            yield f"{other}: guest_uid_base {other_ids.base} (+{other_ids.count}) overlaps {one}'s; {way_out}"
    for guest, ids in wanted:
        for foreign in sorted({range_ for ranges in reserved.values() for range_ in ranges}, key=lambda r: r.base):
            if foreign.owner not in owners and ids.overlaps(foreign):
                files = " and ".join(file for file, ranges in reserved.items() if foreign in ranges)
                line = f"{foreign.owner}:{foreign.base}:{foreign.count}"
                yield f"{guest}: guest_uid_base {ids.base} (+{ids.count}) overlaps {line} in {files}; {way_out}"


def _range(guest: Guest) -> Range | None:
    base, count = guest["guest_uid_base"], guest["guest_uid_count"]
    return Range(owner(guest.name), base, count) if base is not None and count is not None else None


def _free_base(taken: Iterable[Range]) -> int:
    """The first million above all."""
    end = max((range_.base + range_.count for range_ in taken), default=LEAST_IDS)
    return -(-end // 1_000_000) * 1_000_000


def doubled_ports(guests: Sequence[Guest]) -> Iterator[str]:
    """Ports of the machine that are asked for twice."""
    entries = [entry for guest in guests for entry in guest.listens()]
    for (one, label), (other, other_label) in combinations(entries, 2):
        if clash(one, other):
            yield f"{other_label}: {other} is already the host's for {label} ({one}); give one of them another port"


def clashing_subnets(guest: Guest) -> Iterator[str]:
    """Networks of one guest that overlap, and gateways outside theirs."""
    networks = [DOCKER0, *guest.networks()]
    for (label, subnet, _), (other_label, other, _) in combinations(networks, 2):
        if subnet.version == other.version and subnet.overlaps(other):
            yield f"{guest}: {other_label}: {other} overlaps {subnet} of {label}; choose another subnet"
    for label, subnet, gateway in networks:
        if gateway is not None and not _is_host(gateway, subnet):
            yield f"{guest}: {label}: gateway {gateway} is no host address of {subnet}; take one, such as {subnet[1]}"


def _is_host(address: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found in subnet and found not in (subnet.network_address, subnet.broadcast_address)
