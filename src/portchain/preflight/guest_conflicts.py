"""Conflicts between guests and within one: ids, ports and subnets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from ..host.guest_spec import LEAST_ID, UPLINK_NETWORK
from ..linux.subordinate_ids import IdRange, owner
from ..ports.conflicts import clash
from .guest_variables import InventoryGuest, is_host

OWN_NETWORKS = (
    ("docker0, the engine's own bridge", ipaddress.IPv4Network("172.17.0.0/16"), None),
    ("the gateway's way to the outside", UPLINK_NETWORK, None),
)


def find_overlapping_ids(guests: Sequence[InventoryGuest], reserved: Mapping[str, Sequence[IdRange]]) -> Iterator[str]:
    """Yield a problem for each guest whose ids overlap another's, or a range that ``reserved`` has.

    ``reserved`` has the ranges in /etc/subuid and /etc/subgid, by file.
    """
    wanted = [(guest, ids) for guest in guests if (ids := _range(guest))]
    owners = {ids.owner for _, ids in wanted}
    all_reserved = [ids for ranges in reserved.values() for ids in ranges]
    free_base = _free_base([*all_reserved, *(ids for _, ids in wanted)])
    remedy = f"set guest_uid_base to a free one, such as {free_base}"
    for (guest, ids), (other, other_ids) in combinations(wanted, 2):
        if ids.overlaps(other_ids):
            yield f"{other}: guest_uid_base {other_ids.base} (+{other_ids.count}) overlaps {guest}'s; {remedy}"
    for guest, ids in wanted:
        for foreign in sorted(set(all_reserved), key=lambda r: r.base):
            if foreign.owner not in owners and ids.overlaps(foreign):
                files = " and ".join(file for file, ranges in reserved.items() if foreign in ranges)
                line = f"{foreign.owner}:{foreign.base}:{foreign.count}"
                yield f"{guest}: guest_uid_base {ids.base} (+{ids.count}) overlaps {line} in {files}; {remedy}"


def _range(guest: InventoryGuest) -> IdRange | None:
    base, count = guest["guest_uid_base"], guest["guest_uid_count"]
    return IdRange(owner(guest.name), base, count) if base is not None and count is not None else None


def _free_base(taken: Iterable[IdRange]) -> int:
    """Return the first multiple of a million above all ranges."""
    end = max((ids.base + ids.count for ids in taken), default=LEAST_ID)
    return -(-end // 1_000_000) * 1_000_000


def find_duplicate_ports(guests: Sequence[InventoryGuest]) -> Iterator[str]:
    """Yield a problem for each pair of host endpoints that cannot both be listened on."""
    entries = [entry for guest in guests for entry in guest.listens()]
    for (endpoint, label), (other, other_label) in combinations(entries, 2):
        if clash(endpoint, other):
            taken = f"{other} is taken by {label} ({endpoint})"
            yield f"{other_label}: {taken}; give one of them another port"


def find_clashing_subnets(guest: InventoryGuest) -> Iterator[str]:
    """Yield a problem for each pair of overlapping networks of a guest, and each gateway outside its network."""
    networks = [*OWN_NETWORKS, *guest.networks()]
    for (label, subnet, _), (other_label, other, _) in combinations(networks, 2):
        if subnet.overlaps(other):
            yield f"{guest}: {other_label}: {other} overlaps {subnet} of {label}; choose another subnet"
    for label, subnet, gateway in networks:
        if gateway is not None and not is_host(gateway, subnet):
            yield f"{guest}: {label}: gateway {gateway} is no host address of {subnet}; take one, such as {subnet[1]}"
