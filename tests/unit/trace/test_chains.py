"""A healthy machine is whole; with one thing changed, the verdict names that thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portchain.trace.chain import KINDS, Trace
from portchain.trace.judge.chains import trace, trace_all
from portchain.trace.model import Attachment, HostForward, Listener, Machine, Process, Route, WantedPublication
from portchain.trace.parse import iptables
from portchain.trace.query import Query
from portchain.trace.rules.filter_rules import RuleSet
from support.one_container import (
    DNAT,
    LOCAL,
    PORT,
    RULES,
    container_space,
    endpoint,
    forward,
    guest_space,
    machine,
    web,
)


def ask(seen: Machine, asked: str = "8080") -> Trace:
    """A trace of what is asked."""
    return trace(seen, Query.parse(asked))


def before_dnat(rule: str) -> str:
    """The rules with one more before the engine's."""
    return RULES.replace(DNAT, f"[0:0] {rule}\n{DNAT}")


def dropping(rule: str) -> str:
    """The rules with one more in table filter."""
    return RULES.replace("COMMIT\n*nat", f"[0:0] {rule}\nCOMMIT\n*nat")


def ruled(rule: str) -> RuleSet:
    """A container's rules with one of its own."""
    return guest_space(dropping(rule)).rules


def test_a_healthy_chain_has_every_hop() -> None:
    found = ask(machine())
    assert found.verdict is None
    (chain,) = found.chains
    assert [hop.kind for hop in chain.hops] == [kind for kind in KINDS if kind != "proxy"]
    assert {hop.state for hop in chain.hops} == {"ok"}
    assert [hop.title for hop in chain.hops] == [
        "*:8080",
        "*:8080 → 127.0.0.1:8080",
        "0.0.0.0:8080",
        "172.17.0.2:80",
        "packet filter",
        "docker0 (bridge)",
        "veth1@if5 ↔ eth0@if6",
        "web",
        "0.0.0.0:80",
    ]


def test_all_are_traced_by_port() -> None:
    by_hand = HostForward(endpoint("tcp:127.0.0.1:9"), endpoint("tcp:127.0.0.1:1080"), "manual", "manual", "listening")
    system = replace(by_hand, listen=endpoint("unix:/run/x.sock"), origin="system")
    found = trace_all(machine(forwards=(forward(), by_hand, system)))
    assert [(one.asked, one.verdict) for one in found] == [("9", None), ("8080", None)]
    assert [hop.kind for hop in found[0].chains[0].hops] == ["host-socket", "forward", "guest-listener", "filter"]


def test_a_port_that_a_running_container_publishes_in_vain_is_traced() -> None:
    (found,) = trace_all(machine(forwards=()))
    assert (found.asked, found.chains[0].owner) == ("8080", "web")
    assert found.verdict
    assert trace_all(machine(forwards=(), containers=(web(state="exited"),))) == ()


def test_a_unix_target_ends_at_the_guest() -> None:
    found = ask(machine(forwards=(forward(target=endpoint("unix:/run/x.sock"), origin="manual", owner="manual"),)))
    assert found.verdict is None
    assert [hop.kind for hop in found.chains[0].hops] == ["host-socket", "forward", "guest-listener"]


def test_a_forward_to_the_containers_own_address_has_no_guest_listener() -> None:
    direct = forward(target=endpoint("tcp:172.17.0.2:80"), origin="manual", owner="manual")
    found = ask(machine(forwards=(direct,)))
    assert found.verdict is None
    kinds = [hop.kind for hop in found.chains[0].hops]
    assert kinds == [kind for kind in KINDS if kind not in ("guest-listener", "proxy", "nat")]
    assert found.chains[0].owner == "web"


def test_a_guest_that_does_not_tell_leaves_its_hops_unknown() -> None:
    seen = replace(machine(), guest=None, guest_error="guest: no answer in 5 s")
    (chain,) = ask(seen).chains
    assert [(hop.kind, hop.state) for hop in chain.hops][-1] == ("guest-listener", "unknown")
    assert "no answer in 5 s" in chain.hops[-1].says


def test_a_masquerade_that_may_be_is_not_missed() -> None:
    rules = RULES.replace("-m addrtype --src-type LOCAL -j MASQUERADE", "-m set --match-set own src -j OWN")
    rules = rules.replace("COMMIT\n*nat\n", "COMMIT\n*nat\n:OWN - [0:0]\n").replace(
        DNAT, f"{DNAT}[0:0] -A OWN -j MASQUERADE\n"
    )
    assert ask(machine(space=guest_space(rules))).verdict is None


def test_an_engine_that_does_not_tell_accuses_nobody() -> None:
    seen = machine(containers=())
    assert seen.guest
    seen = replace(seen, guest=replace(seen.guest, problems=("guest: the engine does not answer: timed out",)))
    (chain,) = ask(seen).chains
    assert chain.verdict is None
    assert [(hop.kind, hop.state) for hop in chain.hops][-2:] == [
        ("container", "unknown"),
        ("container-socket", "unknown"),
    ]
    assert "the engine does not answer" in chain.hops[-2].says
    lost = ask(seen, "9999").verdict
    assert lost
    assert "did not tell of its containers: guest: the engine does not answer" in lost.text


NOTHING = forward(listen=endpoint("tcp::9999"))
OTHER = replace(web(), name="other", id="b" * 64, attachments=(Attachment("bridge", "n", "172.17.0.3"),), bound=())
OWN = (*LOCAL, Route("172.17.0.2/32", "eth0", "local", source="172.17.0.2"))
TAKEN = {"listeners": (Listener(PORT, (Process(77, "nginx"),)),)}
LOW = WantedPublication(80, "tcp", endpoint("tcp::81"), endpoint("tcp:0.0.0.0:81"))
DOWN = {"forwarder": None, "forwarder_error": "connection refused"}


def veth(index: int, **words: object) -> Machine:
    """One end of the pair changed: 6 the guest's, 5 the container's."""
    space, inside = guest_space(), container_space()
    changed = tuple(replace(link, **words) if link.index == index else link for link in (*space.links, *inside.links))
    inside = replace(inside, links=tuple(one for one in changed if one.index in (1, 5)))
    space = replace(space, links=tuple(one for one in changed if one.index != 5))
    return machine(space=space, containers=(web(space=inside),))


def leading_on_six() -> Machine:
    """A guest whose rules take ``::1`` to the container's IPv6 address, and masquerade it."""
    rule = "-A OUTPUT -d ::1/128 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd77::2]:80"
    text = RULES.replace("[7:420] -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER", rule).replace(DNAT, "")
    text = text.replace("-d 172.17.0.2/32 ! -i", "! -i")
    space = guest_space()
    routes = (*space.routes, Route("fd77::/64", "docker0"))
    space = replace(space, rules=space.rules.joined(iptables.parse(text, "ip6")), routes=routes)
    attached = Attachment("bridge", "n", "172.17.0.2", "fd77::2")
    target = endpoint("tcp:[::1]:8080")
    return machine(space=space, containers=(web(attachments=(attached,)),), forwards=(forward(target=target),))


def bridge_down() -> Machine:
    """As the kernel shows it: its route is gone as well."""
    space = guest_space()
    links = tuple(replace(link, up=False) if link.name == "docker0" else link for link in space.links)
    routes = tuple(route for route in space.routes if route.device != "docker0")
    return machine(space=replace(space, links=links, routes=routes))


def unrouted() -> Machine:
    """With route_localnet off for the bridge."""
    space = guest_space()
    links = tuple(replace(link, route_localnet=link.name != "docker0") for link in space.links)
    return machine(space=replace(space, links=links))


FAULTS: dict[str, tuple[Machine, str, str, str]] = {
    "nothing published": (machine(forwards=(), containers=()), "8080", "nothing-published", "forward"),
    "what the host has itself": (
        machine(forwards=(), containers=(), host=TAKEN),
        "8080",
        "nothing-published",
        "forward",
    ),
    "stopped": (
        machine(forwards=(), containers=(web(state="exited"),), host={"listeners": ()}),
        "8080",
        "container-stopped",
        "container",
    ),
    "restarting": (
        machine(containers=(web(state="restarting", space=None),)),
        "8080",
        "container-stopped",
        "container",
    ),
    "restarting, its rules and sockets gone": (
        machine(
            space=guest_space(RULES.replace(DNAT, ""), listeners=()),
            containers=(web(state="restarting", bound=(), space=None),),
        ),
        "8080",
        "container-stopped",
        "guest-listener",
    ),
    "paused": (machine(containers=(web(state="paused"),)), "8080", "container-paused", "container"),
    "port taken, forward failed": (
        machine(forwards=(forward(state="failed", error="bind: address already in use: nginx"),), host=TAKEN),
        "8080",
        "host-port-taken",
        "host-socket",
    ),
    "port taken, container not started": (
        machine(forwards=(), containers=(web(state="created"),), host=TAKEN),
        "8080",
        "host-port-taken",
        "host-socket",
    ),
    "the kernel refuses the port": (
        machine(forwards=(forward(state="failed", error="bind: permission denied"),)),
        "8080",
        "host-port-refused",
        "host-socket",
    ),
    "policy": (
        machine(forwards=(), containers=(web(state="created", wanted=(LOW,)),)),
        "81",
        "policy-refused",
        "forward",
    ),
    "forwarder down": (machine(host=DOWN), "8080", "forwarder-down", "forward"),
    "guest down": (machine(forwards=(), host={"guest_state": "stopped"}), "8080", "guest-down", "forward"),
    "guest down, forward kept": (machine(host={"guest_state": "stopped"}), "8080", "guest-down", "forward"),
    "relay down": (machine(forwarder={"relay_pid": 0, "channel_pid": 0}), "8080", "relay-down", "forward"),
    "relay down, nothing known": (
        replace(machine(forwards=(), forwarder={"relay_pid": 0, "channel_pid": 0}), guest=None),
        "8080",
        "relay-down",
        "forward",
    ),
    "channel down": (machine(forwarder={"channel_pid": 0}), "8080", "channel-down", "forward"),
    "channel down, nothing known": (
        replace(machine(forwards=(), forwarder={"channel_pid": 0}), guest=None),
        "8080",
        "channel-down",
        "forward",
    ),
    "refused by the relay": (
        machine(forwards=(forward(state="failed", error="host: no such target"),)),
        "8080",
        "forward-refused",
        "forward",
    ),
    "unknown to the forwarder": (machine(forwards=(), host={"listeners": ()}), "8080", "forward-missing", "forward"),
    "no listener": (
        machine(forwards=(forward(target=endpoint("tcp:127.0.0.1:99"), origin="manual", owner="manual"),)),
        "8080",
        "guest-listener-missing",
        "guest-listener",
    ),
    "neither listener nor rule": (
        machine(space=guest_space(RULES.replace(DNAT, ""), listeners=())),
        "8080",
        "guest-listener-missing",
        "guest-listener",
    ),
    "no rule": (machine(space=guest_space(RULES.replace(DNAT, ""))), "8080", "dnat-missing", "nat"),
    "another container's rule first": (
        machine(
            space=guest_space(
                before_dnat("-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.3:80")
            ),
            containers=(web(), OTHER),
        ),
        "8080",
        "dnat-shadowed",
        "nat",
    ),
    "another port's rule first": (
        machine(
            space=guest_space(
                before_dnat("-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:81")
            )
        ),
        "8080",
        "dnat-shadowed",
        "nat",
    ),
    "a return before the rule": (
        machine(space=guest_space(before_dnat("-A DOCKER -p tcp -m tcp --dport 8080 -j RETURN"))),
        "8080",
        "dnat-shadowed",
        "nat",
    ),
    "nothing masqueraded": (
        machine(space=guest_space(RULES.replace("MASQUERADE", "ACCEPT"))),
        "8080",
        "masquerade-missing",
        "nat",
    ),
    "nothing routed from the loopback": (unrouted(), "8080", "route-localnet-off", "nat"),
    "the loopback of IPv6 led on": (leading_on_six(), "8080", "ipv6-half", "nat"),
    "a drop": (
        machine(space=guest_space(dropping("-A OUTPUT -p tcp -m tcp --dport 80 -j DROP"))),
        "8080",
        "filter-drop",
        "filter",
    ),
    "a policy that drops": (
        machine(space=guest_space(RULES.replace(":OUTPUT ACCEPT", ":OUTPUT DROP", 1))),
        "8080",
        "filter-drop",
        "filter",
    ),
    "a drop of answers": (
        machine(space=guest_space(dropping("-A INPUT -i docker0 -p tcp -m tcp --sport 80 -j DROP"))),
        "8080",
        "filter-drop",
        "filter",
    ),
    "a drop in the container": (
        machine(
            containers=(
                web(
                    space=container_space(
                        rules=guest_space(dropping("-A INPUT -p tcp -m tcp --dport 80 -j REJECT")).rules
                    )
                ),
            )
        ),
        "8080",
        "filter-drop",
        "container-socket",
    ),
    "a drop of answers in the container": (
        machine(containers=(web(space=container_space(rules=ruled("-A OUTPUT -p tcp -m tcp --sport 80 -j DROP"))),)),
        "8080",
        "filter-drop",
        "container-socket",
    ),
    "without a network": (
        machine(forwards=(), containers=(web(attachments=(), bound=()),), host={"listeners": ()}),
        "8080",
        "network-disconnected",
        "bridge",
    ),
    "no route": (machine(space=guest_space(routes=LOCAL)), "8080", "network-disconnected", "bridge"),
    "bridge down": (bridge_down(), "8080", "bridge-down", "bridge"),
    "guest's end down": (veth(6, up=False), "8080", "veth-down", "veth"),
    "container's end down": (veth(5, up=False, addresses=()), "8080", "veth-down", "veth"),
    "no port of the bridge": (veth(6, master=0), "8080", "veth-detached", "veth"),
    "an address of nobody": (
        machine(forwards=(forward(target=endpoint("tcp:172.17.0.9:80"), origin="manual", owner="manual"),)),
        "8080",
        "container-unknown",
        "container",
    ),
    "nothing listens": (
        machine(containers=(web(space=container_space("tcp:0.0.0.0:81")),)),
        "8080",
        "nothing-listening",
        "container-socket",
    ),
    "nothing listens at all": (
        machine(containers=(web(space=container_space(listeners=())),)),
        "8080",
        "nothing-listening",
        "container-socket",
    ),
    "no route back": (
        machine(containers=(web(space=container_space(routes=OWN)),)),
        "8080",
        "network-disconnected",
        "container-socket",
    ),
    "a route back that leads nowhere": (
        machine(containers=(web(space=container_space(routes=(*OWN, Route("0.0.0.0/0", "lo", "unreachable")))),)),
        "8080",
        "network-disconnected",
        "container-socket",
    ),
    "loopback only": (
        machine(containers=(web(space=container_space("tcp:127.0.0.1:80")),)),
        "8080",
        "container-loopback-only",
        "container-socket",
    ),
    "udp asked for": (machine(), "8080/udp", "wrong-protocol", "forward"),
    "udp served": (
        machine(containers=(web(space=container_space("udp:0.0.0.0:80")),)),
        "8080",
        "wrong-protocol",
        "container-socket",
    ),
    "IPv4 alone on the host": (
        machine(forwards=(forward(listen=endpoint("tcp:0.0.0.0:8080")),)),
        "[::1]:8080",
        "ipv6-half",
        "host-socket",
    ),
    "another address on the host": (
        machine(forwards=(forward(listen=endpoint("tcp:127.0.0.2:8080")),)),
        "127.0.0.1:8080",
        "other-address",
        "host-socket",
    ),
    "IPv6 rules missing": (machine(forwards=(forward(target=endpoint("tcp:[::1]:8080")),)), "8080", "ipv6-half", "nat"),
    "IPv6 server": (
        machine(containers=(web(space=container_space("tcp:[::]:80")),)),
        "8080",
        "ipv6-half",
        "container-socket",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told(name: str) -> None:
    seen, asked, code, hop = FAULTS[name]
    found = ask(seen, asked)
    assert found.verdict, name
    assert (found.verdict.code, found.verdict.hop) == (code, hop), found.verdict
    chain = found.chains[0]
    at = next(index for index, one in enumerate(chain.hops) if one.state == "broken")
    assert chain.hops[at].kind == hop
    assert all(one.state in ("ok", "unknown") for one in chain.hops[:at])
    assert all(one.state == "skipped" for one in chain.hops[at + 1 :])
    assert found.verdict.text and found.verdict.remedy
