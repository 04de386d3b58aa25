"""Wait until chains are whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ports.forward import Forward
from .chain import Trace
from .collect.evidence_session import Session
from .collect.reach import reach_all
from .model import Machine
from .query import Query
from .summary import differences
from .tracing import trace_machine, trace_port
from .unpublished import Unpublished, unpublished

_RETRY = 0.5
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True)
class ChainAssertion:
    """The chains that are to be whole: those of ``queries``, or all if it is empty.

    ``expect`` is as in `summary.differences`. ``probe`` says whether to connect to them as well, ``timeout`` how many
    seconds there are.
    """

    queries: Sequence[Query] = ()
    expect: Sequence[Mapping[str, Any]] = ()
    probe: bool = True
    timeout: float = 30.0


@dataclass(frozen=True)
class AssertionResult:
    """The traces, problems besides their verdicts, and what the engine does not publish by design."""

    traces: tuple[Trace, ...]
    problems: list[str] = field(default_factory=list)
    unpublished: tuple[Unpublished, ...] = ()


def assert_chains(guest: str, assertion: ChainAssertion) -> AssertionResult:
    """Trace again and again until the assertion holds or its time is over; raise EvidenceError."""
    deadline = time.monotonic() + assertion.timeout
    with Session(guest) as session:
        while True:
            result = _trace_once(session, assertion)
            whole = not result.problems and not any(trace.verdict for trace in result.traces)
            if whole or time.monotonic() > deadline:
                return result
            time.sleep(_RETRY)


def _trace_once(session: Session, assertion: ChainAssertion) -> AssertionResult:
    """Trace once and compare."""
    if assertion.queries:
        results = [trace_port(session, query) for query in assertion.queries]
        machine, traces = results[-1][0], tuple(trace for _, trace in results)
    else:
        machine, traces = trace_machine(session)
    not_published = unpublished(machine.guest)
    problems = [text for expectation in assertion.expect for text in differences(expectation, traces, not_published)]
    if machine.guest is None:
        problems.append(machine.guest_error)
    if assertion.probe and assertion.timeout and not problems:
        problems += _unanswered(machine, assertion.queries)
    return AssertionResult(traces, problems, not_published)


def _unanswered(machine: Machine, queries: Sequence[Query]) -> list[str]:
    """Return a line for each of the ports that no server answers."""
    forwards = [
        Forward(forward.listen, forward.target, forward.proxy_protocol)
        for forward in machine.published()
        if forward.state != "failed" and (not queries or any(query.asks_for(forward.listen) for query in queries))
    ]
    results = reach_all(forwards, _CONNECT_SECONDS)
    return [
        f"{result.forward.listen} -> {result.forward.target}: {result.problem}" for result in results if result.problem
    ]
