"""Trace a running machine; collect evidence a second time before anything is called broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .chain import Trace, Verdict
from .collect.evidence_session import Session, all_containers, containers_behind
from .judge.chains import trace, trace_all
from .model import Machine
from .parse.guest_evidence import parse_untrusted
from .query import Query

# What was broken while containers came or went is whole within this time; the forwarder takes longer with UDP flows.
SECOND_LOOK = 0.25
_LONGER = {"flow-elsewhere": 1.0}

T = TypeVar("T")


def trace_port(session: Session, query: Query) -> tuple[Machine, Trace]:
    """Trace the chains of a port."""

    def attempt() -> tuple[Machine, Trace]:
        machine = session.collect([query.port], containers_behind(query))
        return machine, parse_untrusted(lambda machine: trace(machine, query), machine, "network")

    return _twice(attempt, lambda result: [result[1].verdict])


def trace_machine(session: Session) -> tuple[Machine, tuple[Trace, ...]]:
    """Trace all chains of the machine, with evidence from inside every container."""

    def attempt() -> tuple[Machine, tuple[Trace, ...]]:
        machine = session.collect(choose=all_containers)
        return machine, parse_untrusted(trace_all, machine, "network")

    return _twice(attempt, lambda result: [trace.verdict for trace in result[1]])


def _twice(attempt: Callable[[], T], verdicts: Callable[[T], list[Verdict | None]]) -> T:
    result = attempt()
    if broken := [verdict.code for verdict in verdicts(result) if verdict]:
        time.sleep(max(_LONGER.get(code, SECOND_LOOK) for code in broken))
        result = attempt()
    return result
