"""Mermaid that is valid whatever things are called."""

from __future__ import annotations

import re

from portchain.trace.judge.chains import trace, trace_all
from portchain.trace.query import Query
from portchain.trace.render import mermaid
from support.machines import big, hostile, seed

LINE = re.compile(
    r"flowchart LR|  subgraph (host|guest|container)|  end"
    r'|    n\d+\["[^"\[\]{}<>|`]*(<br>[^"\[\]{}<>|`]*)*"\]'
    r"|  n\d+ (-->|--x|-\.-)(\|\d+ µs\|)? n\d+"
    r"|  classDef \w+ [\w:#,\- ]+|  class n\d+ (broken|skipped)"
)


def test_every_line_is_one_that_mermaid_knows() -> None:
    for machine in (seed(), big(), hostile()):
        text = mermaid.chains(trace_all(machine))
        assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []


def test_bridge_and_container_are_shared() -> None:
    text = mermaid.chains(trace_all(seed()))
    assert text.count("host socket") == 6
    assert text.count("br-a22db289b316") == 1
    assert text.count('"container<br>minikube"') == 1


def test_a_broken_hop_is_marked_with_the_verdict() -> None:
    text = mermaid.chains([trace(big(), Query(9200))])
    (node,) = re.findall(r'(n\d+)\["nat<br>no rule<br>dnat-missing"\]', text)
    assert f"--x {node}" in text
    assert f"class {node} broken" in text


def test_names_cannot_leave_their_label() -> None:
    text = mermaid.chains(trace_all(hostile()))
    assert "<img" not in text
    assert "#60;img" in text
