"""Chains through docker-proxy, as an engine has them whose ``userland-proxy`` is on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portchain.trace.chain import KINDS, Chain
from portchain.trace.collect.probe import watched
from portchain.trace.judge.chains import trace
from portchain.trace.judge.probed_chain import CapturedPacket, CapturedTraffic, ProbeClient, with_probe
from portchain.trace.model import Attachment, HostForward, Listener, Machine, Process, Route
from portchain.trace.parse.guest_evidence import parse_listener
from portchain.trace.query import Query
from portchain.trace.render import mermaid, report_page, svg, terminal_view
from portchain.trace.summary import differences, line
from support.one_container import DNAT, RULES, endpoint, forward, guest_space, machine, web

# What the engine writes: what goes to the loopback is docker-proxy's, what goes to other own addresses is translated.
RULES_BESIDE_IT = RULES.replace(
    "-A OUTPUT -m addrtype", "-A OUTPUT ! -d 127.0.0.0/8 -m addrtype"
).replace("[2:120] -A DOCKER -p", "-A DOCKER -i docker0 -j RETURN\n[2:120] -A DOCKER ! -i docker0 -p").replace(
    "-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE",
    "-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE",
)  # fmt: skip
WAY = [kind for kind in KINDS if kind != "nat"]
TO = "tcp:172.17.0.2:80"
SYN, SYN_ACK, BEGAN = 0x02, 0x12, 1_700_000_000_000_000_000


def proxied(to: str = TO, rules: str = RULES_BESIDE_IT, at: str = "tcp:0.0.0.0:8080", **words: object) -> Machine:
    """The machine with docker-proxy at the guest's port."""
    space = guest_space(rules)
    held = Listener(endpoint(at), (Process(5629, "docker-proxy"),), 0, endpoint(to))
    links = tuple(replace(one, route_localnet=False) for one in space.links)
    return machine(space=replace(space, listeners=(held,), links=links), **words)  # type: ignore[arg-type]


def chain(seen: Machine) -> Chain:
    """Its only one."""
    return trace(seen, Query(8080)).chains[0]


@pytest.mark.parametrize("rules", [RULES_BESIDE_IT, RULES_BESIDE_IT.replace(DNAT, "")], ids=["with rules", "without"])
def test_docker_proxy_is_a_hop_of_its_own(rules: str) -> None:
    found = chain(proxied(rules=rules))
    assert found.verdict is None
    assert [hop.kind for hop in found.hops] == WAY
    assert {hop.state for hop in found.hops} == {"ok"}
    hop = found.hop("proxy")
    assert hop
    assert (hop.title, hop.says) == ("172.17.0.2:80", "docker-proxy dials it from 172.17.0.1")
    assert line(found) == "tcp :8080 → 0.0.0.0:8080 → docker-proxy 172.17.0.2:80 → bridge → web"
    seen = trace(proxied(rules=rules), Query(8080))
    assert differences({"port": 8080, "to": "172.17.0.2:80", "container": "web"}, [seen]) == []


def test_what_goes_to_another_address_of_the_guest_is_translated() -> None:
    by_hand = forward(target=endpoint("tcp:172.17.0.1:8080"), origin="manual", owner="manual")
    found = chain(proxied(forwards=(by_hand,)))
    assert found.verdict is None
    assert [hop.kind for hop in found.hops] == [kind for kind in KINDS if kind != "proxy"]


def test_it_leads_from_ipv6_to_ipv4() -> None:
    by_hand = HostForward(endpoint("tcp::8080"), endpoint("tcp:[::1]:8080"), "manual", "manual", "listening")
    found = chain(proxied(at="tcp:[::]:8080", forwards=(by_hand,)))
    assert found.verdict is None
    assert found.redirect_target == "172.17.0.2:80"


@pytest.mark.parametrize(
    ("seen", "code", "hop"),
    [
        (proxied(to="tcp:172.17.0.3:80"), "proxy-elsewhere", "proxy"),
        (proxied(to="tcp:172.17.0.2:81"), "proxy-elsewhere", "proxy"),
        (
            proxied(
                rules=RULES_BESIDE_IT.replace(
                    "COMMIT\n*nat", "-A OUTPUT -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n*nat"
                )
            ),
            "filter-drop",
            "filter",
        ),
        (
            proxied(
                rules=RULES_BESIDE_IT.replace(
                    "COMMIT\n*nat", "-A OUTPUT -p tcp -m tcp --dport 80 -j DROP\nCOMMIT\n*nat"
                )
            ),
            "filter-drop",
            "filter",
        ),
        (proxied(containers=(web(state="paused"),)), "container-paused", "container"),
    ],
)
def test_a_fault_on_a_way_through_it(seen: Machine, code: str, hop: str) -> None:
    found = chain(seen)
    assert found.verdict
    assert (found.verdict.code, found.verdict.hop) == (code, hop)
    kinds = [one.kind for one in found.hops if one.state != "skipped"]
    assert kinds == WAY[: WAY.index(hop) + 1]


def test_without_it_and_without_a_rule_nobody_listens() -> None:
    space = guest_space(RULES_BESIDE_IT, listeners=())
    verdict = chain(machine(space=space)).verdict
    assert verdict
    assert verdict.code == "guest-listener-missing"


def test_chains_without_it_do_not_speak_of_it() -> None:
    for seen in (machine(forwards=(), containers=()), machine(space=guest_space(RULES.replace(DNAT, "")))):
        assert "proxy" not in [hop.kind for hop in chain(seen).hops]


def test_it_is_drawn() -> None:
    seen = proxied()
    traces = [trace(seen, Query(8080))]
    for drawn in (svg.picture(seen, traces), report_page.page(seen, traces)):
        assert "proxy 172.17.0.2:80" in drawn
        assert "DNAT" not in drawn.partition("Rules that lead on")[0]
        assert ">docker-proxy</text>" in drawn
    assert "proxy<br>172.17.0.2:80" in mermaid.chains(traces)
    assert "172.17.0.2:80" in str([str(part) for part in terminal_view.machine(seen, traces).content.renderables])


def packet(
    interface: int, after: int, source: tuple[str, int], to: tuple[str, int], flags: int = SYN
) -> CapturedPacket:
    """One of the probe's, ``after`` microseconds."""
    return CapturedPacket(interface, BEGAN + after * 1000, True, "tcp", *source, *to, flags)


def test_a_probe_is_seen_before_and_after_it() -> None:
    walked = chain(proxied())
    places = watched(walked)
    names = ["lo", "docker0", "veth1", "eth0"]
    assert [(one.name, one.port) for one in places] == list(zip(names, (8080, 80, 80, 80), strict=True))
    ours, its, server = ("127.0.0.1", 42324), ("172.17.0.1", 43210), ("172.17.0.2", 80)
    packets = [packet(0, 150, ours, ("127.0.0.1", 8080))]
    packets += [packet(n, 230 + 10 * n, its, server) for n in (1, 2)]
    packets += [replace(packet(3, 260, its, server), out=False), packet(3, 270, server, its, SYN_ACK)]
    client = ProbeClient(BEGAN, BEGAN + 100_000, BEGAN + 600_000, "end", 0, "127.0.0.1:55298")
    found = with_probe(walked, client, CapturedTraffic(tuple(packets), (), {}), names)
    assert found.verdict is None
    times = {hop.kind: hop.microseconds for hop in found.hops if hop.microseconds is not None}
    assert times == {
        "host-socket": 100, "forward": 50, "proxy": 90, "veth": 10, "container": 10, "container-socket": 10,
    }  # fmt: skip
    evidence = {hop.kind: hop.evidence for hop in found.hops}
    assert evidence["forward"] == "accepted it, and dialled from 127.0.0.1:42324"
    assert evidence["proxy"] == "dialled from 172.17.0.1:43210"
    lost = with_probe(walked, replace(client, answer="silence"), CapturedTraffic(tuple(packets[:1]), (), {}), names)
    assert lost.verdict
    assert (lost.verdict.code, lost.verdict.hop) == ("probe-lost", "proxy")


@pytest.mark.parametrize(
    ("arguments", "to"),
    [
        ("-proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80", "172.17.0.2:80"),
        (
            "-proto tcp -host-ip :: -host-port 80 -container-ip fd77::2 -container-port 80 -use-listen-fd",
            "[fd77::2]:80",
        ),
        ("-container-ip nonsense -container-port 80", ""),
        ("-container-ip 172.17.0.2 -container-port", ""),
        ("", ""),
    ],
)
def test_where_it_leads_is_read_from_its_arguments(arguments: str, to: str) -> None:
    holder = {"pid": 7, "command": "docker-proxy", "arguments": ["/usr/sbin/docker-proxy", *arguments.split()]}
    found = parse_listener({"protocol": "tcp", "address": "0.0.0.0", "port": 80, "inode": 1, "processes": [holder]})
    assert (found.proxied.hostport if found.proxied else "") == to


def test_it_dials_from_the_bridges_own_address() -> None:
    space = guest_space()
    links = tuple(
        replace(one, addresses=(*one.addresses, "fd77::1/64")) if one.index == 3 else one for one in space.links
    )
    space = replace(space, links=links, routes=(*space.routes, Route("fd77::/64", "docker0")))
    assert (space.source("fd77::2"), space.source("172.17.0.2")) == ("fd77::1", "172.17.0.1")
    assert (space.source("::1"), space.source("192.0.2.1"), space.source("2001:db8::1")) == ("::1", "127.0.0.1", "::1")


def test_an_address_of_another_network_of_the_container_is_its_own() -> None:
    attached = (Attachment("bridge", "n" * 64, "172.17.0.2"), Attachment("other", "o" * 64, "172.18.0.2"))
    assert chain(proxied(containers=(web(attachments=attached),))).verdict is None
