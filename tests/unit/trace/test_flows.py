"""UDP flows that conntrack keeps leading elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portchain.trace.chain import Verdict
from portchain.trace.judge.chains import trace
from portchain.trace.model import Attachment, Container, Listener, Machine, Process, WantedPublication
from portchain.trace.parse.tracked_flows import flows
from portchain.trace.query import Query
from support.one_container import RULES, container_space, endpoint, forward, guest_space, machine, web

PORT = endpoint("udp::8080")
LINE = (
    "ipv4     2 udp      17 {left} src=127.0.0.1 dst=127.0.0.1 sport={sport} dport=8080 {unreplied}"
    "src={source} dst=127.0.0.1 sport={port} dport={sport} {assured}mark=0 zone=0 use=2"
)


def line(
    source: str = "127.0.0.1", port: int = 8080, left: int = 29, sport: int = 40001, answered: bool = False
) -> str:
    """One of the kernel's list; without more, a flow that is not translated."""
    assured, unreplied = ("[ASSURED] ", "") if answered else ("", "[UNREPLIED] ")
    return LINE.format(source=source, port=port, left=left, sport=sport, assured=assured, unreplied=unreplied)


def serving(*lines: str, rules: str = RULES, protocol: str = "udp", proxied: str = "") -> Machine:
    """The machine with a UDP server, and these flows."""
    space = guest_space(rules.replace("-p tcp -m tcp --dport 8080", f"-p {protocol} -m {protocol} --dport 8080"))
    at, to = endpoint("udp:0.0.0.0:8080"), endpoint(proxied) if proxied else None
    space = replace(space, listeners=(Listener(at, (Process(7, "docker-proxy" if to else "dockerd"),), 0, to),))
    one: Container = web(
        wanted=(WantedPublication(80, "udp", PORT, at),), bound=((at, 80),), space=container_space("udp:0.0.0.0:80")
    )
    seen = machine(
        space=space, containers=(one,), forwards=(forward(listen=PORT, target=endpoint("udp:127.0.0.1:8080")),)
    )
    assert seen.guest
    return replace(seen, guest=replace(seen.guest, flows=tuple(flows("\n".join(lines)))))


def verdict(seen: Machine) -> Verdict | None:
    """That on its only port."""
    return trace(seen, Query(8080)).verdict


MINE = line("172.17.0.2", 80, sport=40002)


@pytest.mark.parametrize(
    ("astray", "to"),
    [
        (line(), "127.0.0.1:8080"),
        (line("172.17.0.9", 80), "172.17.0.9:80"),
        (line("172.17.0.2", 81, 119, answered=True), "172.17.0.2:81"),
    ],
    ids=["not translated", "another container", "another port, answered"],
)
def test_a_client_that_is_led_elsewhere_breaks_the_chain(astray: str, to: str) -> None:
    found = verdict(serving(MINE, astray))
    assert found
    assert (found.code, found.hop) == ("flow-elsewhere", "nat")
    assert (
        f"1 of 2 clients are not led to 172.17.0.2:80: what comes from 127.0.0.1:40001 goes to {to}, as" in found.text
    )
    assert found.remedy.endswith("-m portchain.guest.forget_flows 127.0.0.1:8080 127.0.0.1:40001")


def test_a_command_forgets_at_most_twenty_flows() -> None:
    found = verdict(serving(*(line(sport=40000 + n) for n in range(30))))
    assert found
    assert "30 of 30 clients" in found.text
    assert found.remedy.endswith(" 127.0.0.1:40018 127.0.0.1:40019")
    assert found.remedy.count("127.0.0.1:400") == 20


@pytest.mark.parametrize(
    "lines",
    [
        (MINE,),
        (MINE, line(left=19)),
        (MINE, line("172.17.0.9", 80, 105, answered=True)),
        (line().replace("dport=8080", "dport=8081"),),
        (line().replace("udp      17", "tcp      6"),),
        ("nonsense", line().partition(" src=172")[0][:60]),
    ],
    ids=["its own", "silent", "silent, answered", "another port", "tcp", "no flow"],
)
def test_others_break_nothing(lines: tuple[str, ...]) -> None:
    assert verdict(serving(*lines)) is None


def test_where_it_leads_is_unsure_nobody_is_accused() -> None:
    unsure = "-A DOCKER -p udp -m udp --dport 8080 -m statistic --mode random --probability 0.5 -j DNAT"
    rules = RULES.replace("[2:120] -A DOCKER", f"{unsure} --to-destination 172.17.0.9:80\n[2:120] -A DOCKER")
    assert verdict(serving(line("172.17.0.9", 80), rules=rules)) is None


def test_docker_proxy_is_to_get_what_comes_to_it() -> None:
    rules = RULES.replace("-A OUTPUT -m addrtype", "-A OUTPUT ! -d 127.0.0.0/8 -m addrtype")
    assert verdict(serving(line(), rules=rules, proxied="udp:172.17.0.2:80")) is None
    found = verdict(serving(MINE, rules=rules, proxied="udp:172.17.0.2:80"))
    assert found
    assert (found.code, found.hop) == ("flow-elsewhere", "proxy")


def test_a_container_in_two_networks_is_itself() -> None:
    seen = serving(MINE)
    assert seen.guest
    (one,) = seen.guest.containers
    both = replace(one, attachments=(*one.attachments, Attachment("other", "o", "172.18.0.2")))
    assert verdict(replace(seen, guest=replace(seen.guest, containers=(both,)))) is None
