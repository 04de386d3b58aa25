"""What the simulation says of rules by chance is what the kernel does with real packets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portchain.trace.model import NetworkNamespace, Route
from portchain.trace.parse import iptables, nft
from portchain.trace.rules import packet_path
from portchain.trace.rules.filter_rules import Packet, RuleSet
from portchain.trace.rules.hook_passage import Passage

from . import filter_stage, rulesets

STAGE = Path(filter_stage.__file__)
CASES = [(seed, version) for seed in range(20) for version in (4, 6)]
LOCAL = ("127.0.0.0/8", "10.1.0.1/32", "10.2.0.1/32", "::1/128", "fd01::1/128", "fd02::1/128")
SPACE = NetworkNamespace(
    routes=(
        *(Route(one, "lo", "local", source=one.partition("/")[0].replace("127.0.0.0", "127.0.0.1")) for one in LOCAL),
        *(Route(f"10.{n}.0.0/24", f"{name}0", source=f"10.{n}.0.1") for name, n in filter_stage.NEIGHBOURS.items()),
        *(Route(f"fd0{n}::/64", f"{name}0", source=f"fd0{n}::1") for name, n in filter_stage.NEIGHBOURS.items()),
    )
)
WHERE = {"10.1.0.2": "one", "10.2.0.2": "two", "fd01::2": "one", "fd02::2": "two"}
ANSWERED = ("10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are made by root")


@pytest.fixture(scope="module")
def played() -> Iterator[dict[tuple[int, int], dict[str, Any]]]:
    """What the kernel did with each case."""
    cases = [rulesets.case(*one) for one in CASES]
    command = ["unshare", "--net", sys.executable, str(STAGE)]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    yield dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


def parsed(told: dict[str, Any]) -> RuleSet:
    rules = iptables.parse(told["iptables"], "ip").joined(iptables.parse(told["ip6tables"], "ip6"))
    return rules.joined(nft.parse(told["nft"], rules.tables)) if told["nft"] else rules


def simulated(rules: RuleSet, probe: filter_stage.Probe) -> Passage:
    packet = Packet(probe.protocol, probe.source, probe.destination, probe.port)
    if probe.at == "guest":
        return packet_path.send(rules, packet, SPACE)
    return packet_path.arrive(rules, packet.enters(f"{probe.at}0"), SPACE)


def outcome(passage: Passage) -> list[Any] | None:
    """As the stage tells it; no kernel takes ``::1`` from a wire, whatever its rules."""
    end = passage.packet
    if passage.end != "accept" or (end.source == "::1" and end.destination in WHERE):
        return None
    return [WHERE.get(end.destination, "guest"), end.source, end.destination, end.port]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_packets_go_where_the_kernel_sends_them(played: dict[Any, Any], case: tuple[int, int]) -> None:
    told, rules = played[case], parsed(played[case])
    assert rules.unknown == ()
    probes = [filter_stage.Probe(*fields) for fields in rulesets.case(*case)["probes"]]
    for probe, real in zip(probes, told["outcomes"], strict=True):
        passage = simulated(rules, probe)
        if not passage.unsure:
            assert outcome(passage) == real, (probe, passage)
        elif real:
            assert passage.end == "accept", (probe, passage)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answers_come_back_where_the_kernel_lets_them(played: dict[Any, Any], case: tuple[int, int]) -> None:
    told, rules = played[case], parsed(played[case])
    for number, fields in enumerate(rulesets.case(*case)["probes"]):
        probe = filter_stage.Probe(*fields)
        sent = simulated(rules, probe)
        asked = probe.at == "guest" and probe.protocol == "udp" and told["outcomes"][number]
        # An address of the loopback is none that a neighbour could answer to, nor is an answer taken for ``::1``.
        if (
            asked
            and probe.source != "::1"
            and not sent.unsure
            and sent.packet.destination in WHERE
            and sent.packet.source in ANSWERED
        ):
            passage = packet_path.answer(rules, sent, SPACE)
            # Its socket takes what comes from anywhere.
            back = passage.packet.destination == probe.source and passage.translation is None
            here = passage.end == "accept" and back
            if not passage.unsure or not here:
                assert (number in told["answered"]) == here, (probe, passage)


def test_most_packets_are_sure(played: dict[Any, Any]) -> None:
    """Or else the others would be compared with nothing."""
    seen: Counter[bool] = Counter()
    for case in CASES:
        rules = parsed(played[case])
        probes = (filter_stage.Probe(*fields) for fields in rulesets.case(*case)["probes"])
        seen.update(bool(simulated(rules, one).unsure) for one in probes)
    assert 0 < seen[True] < seen[False]


@pytest.mark.parametrize("case", [one for one in CASES if one[0] % 3 and one[1] == 4], ids=str)
def test_rules_are_met_as_often_as_the_kernel_counts(played: dict[Any, Any], case: tuple[int, int]) -> None:
    """Where nothing is answered: no rejections, and datagrams only."""
    told, rules = played[case], parsed(played[case])
    probes = [filter_stage.Probe(*fields) for fields in rulesets.case(*case)["probes"]]
    passages = [simulated(rules, one) for one in probes if one.protocol == "udp"]
    if any(one.unsure for one in passages):
        pytest.skip("a rule may have been met or not")
    met = Counter(id(step.rule) for one in passages for step in one.steps)
    for chain in rules.chains:
        for rule in chain.rules:
            if rule.text.startswith("-A"):
                assert met[id(rule)] == rule.packets, (rule.text, told["iptables"])
