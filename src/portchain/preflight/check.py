"""All checks, in one list of problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .between import clashing_subnets, doubled_ports, overlapping_ids
from .guest import Guest, unknown_variables
from .machine import Machine, held_ports, lacking


def check(guests: Sequence[Guest], machine: Machine, known: Iterable[str]) -> list[str]:
    """What would go wrong with these guests on this machine; ``known`` are the names of the roles' variables."""
    names = list(known)
    problems = list(lacking(machine))
    for guest in guests:
        problems += unknown_variables(guest, names)
        problems += guest.problems()
        problems += clashing_subnets(guest)
    problems += overlapping_ids(guests, machine.reserved_ids)
    problems += doubled_ports(guests)
    problems += held_ports(machine, [entry for guest in guests for entry in guest.listens()])
    return problems
