"""Tracing a running machine: looking, walking, and looking again before anything is said to be broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .look import Session, behind, everything
from .model import Machine
from .query import Query
from .read_guest import guarded
from .trace import Trace, Verdict
from .walk import trace, trace_all

# What was broken while containers came or went is whole within this time.
SECOND_LOOK = 0.25

T = TypeVar("T")


def trace_port(session: Session, query: Query) -> tuple[Machine, Trace]:
    """The chains of what is asked about."""

    def look() -> tuple[Machine, Trace]:
        machine = session.look([query.port], behind(query))
        return machine, guarded(lambda seen: trace(seen, query), machine, "network")

    return _twice(look, lambda found: [found[1].verdict])


def trace_machine(session: Session) -> tuple[Machine, tuple[Trace, ...]]:
    """All chains of the machine, every container being looked into."""

    def look() -> tuple[Machine, tuple[Trace, ...]]:
        machine = session.look(choose=everything)
        return machine, guarded(trace_all, machine, "network")

    return _twice(look, lambda found: [one.verdict for one in found[1]])


def _twice(look: Callable[[], T], verdicts: Callable[[T], list[Verdict | None]]) -> T:
    found = look()
    if any(verdicts(found)):
        time.sleep(SECOND_LOOK)
        found = look()
    return found
