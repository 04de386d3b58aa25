"""All checks of the preflight, in one list of problems."""

from __future__ import annotations

from collections.abc import Sequence

from .guest_conflicts import find_clashing_subnets, find_duplicate_ports, find_overlapping_ids
from .guest_variables import InventoryGuest
from .machine_checks import MachineFacts, find_held_ports, find_lacking
from .needs import find_missing


def check(guests: Sequence[InventoryGuest], machine: MachineFacts) -> list[str]:
    """Return every problem that these guests would have on this machine."""
    problems = list(find_lacking(machine))
    for guest in guests:
        problems += guest.problems()
        problems += find_missing(guest, machine)
        problems += find_clashing_subnets(guest)
    problems += find_overlapping_ids(guests, machine.reserved_ids)
    problems += find_duplicate_ports(guests)
    problems += find_held_ports(machine, [entry for guest in guests for entry in guest.listens()])
    return problems
