"""Waiting until chains are whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..mapping.forward import Forward
from .look import Session
from .model import Machine
from .query import Query
from .reach import reach_all
from .summary import missed
from .trace import Trace
from .tracing import trace_machine, trace_port

_RETRY = 0.5
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True)
class Wanted:
    """What is to be whole: ``queries``, or all without any. ``expect`` is as `summary.missed` has it.

    ``probe`` says whether to connect to them as well, ``timeout`` how many seconds there are.
    """

    queries: Sequence[Query] = ()
    expect: Sequence[Mapping[str, Any]] = ()
    probe: bool = True
    timeout: float = 30.0


@dataclass(frozen=True)
class Found:
    """The traces, and what is wrong beside their verdicts."""

    traces: tuple[Trace, ...]
    problems: list[str] = field(default_factory=list)


def assert_chains(guest: str, wanted: Wanted) -> Found:
    """Look again and again until all is as wanted, or the time is over; raise EvidenceError."""
    deadline = time.monotonic() + wanted.timeout
    with Session(guest) as session:
        while True:
            found = _look(session, wanted)
            whole = not found.problems and not any(one.verdict for one in found.traces)
            if whole or time.monotonic() > deadline:
                return found
            time.sleep(_RETRY)


def _look(session: Session, wanted: Wanted) -> Found:
    if wanted.queries:
        looks = [trace_port(session, one) for one in wanted.queries]
        machine, traces = looks[-1][0], tuple(trace for _, trace in looks)
    else:
        machine, traces = trace_machine(session)
    problems = [text for one in wanted.expect for text in missed(one, traces)]
    if machine.guest is None:
        problems.append(machine.guest_error)
    if wanted.probe and wanted.timeout and not problems:
        problems += _unanswered(machine, wanted.queries)
    return Found(traces, problems)


def _unanswered(machine: Machine, queries: Sequence[Query]) -> list[str]:
    listening = [one for one in machine.published() if one.state != "failed"]
    asked = [one for one in listening if not queries or any(query.asks_for(one.listen) for query in queries)]
    findings = reach_all([Forward(one.listen, one.target, one.proxy_protocol) for one in asked], _CONNECT_SECONDS)
    return [f"{one.forward.listen} -> {one.forward.target}: {one.problem}" for one in findings if one.problem]
