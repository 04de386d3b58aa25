"""Chains in a line, and how they are told apart."""

from __future__ import annotations

from dataclasses import replace

from portchain.trace.chain import Chain, Hop, Trace, Verdict
from portchain.trace.judge.chains import trace_all
from portchain.trace.model import Machine
from portchain.trace.summary import describe_failure, differences, line, snapshot
from support.one_container import RULES, container_space, forward, guest_space, machine, web

WHOLE = "tcp :8080 → 0.0.0.0:8080 → 172.17.0.2:80 → bridge → web"


def test_a_chain_in_a_line() -> None:
    assert snapshot(trace_all(machine())) == f"{WHOLE}\n"


def test_what_changes_by_itself_is_no_change() -> None:
    space = guest_space()
    links = tuple(replace(one, name=one.name.replace("veth1", "veth9"), sent_packets=7) for one in space.links)
    busy = machine(
        space=replace(space, links=links, inode=99),
        containers=(web(pid=4, status="Up 9 hours", space=container_space(inode=98)),),
        forwards=(forward(connections=99, sent=5),),
        forwarder={"pid": 5, "relay_pid": 7, "channel_pid": 6},
    )
    assert snapshot(trace_all(busy)) == f"{WHOLE}\n"


def broken() -> Machine:
    """Without its nat rule."""
    return machine(space=guest_space("\n".join(one for one in RULES.splitlines() if "--to-destination" not in one)))


def test_a_broken_chain_ends_where_it_breaks() -> None:
    (trace,) = trace_all(broken())
    assert line(trace.chains[0]) == "tcp :8080 → 0.0.0.0:8080 → broken: dnat-missing"
    first, way, remedy = describe_failure(trace.chains[0]).splitlines()
    assert first.startswith("tcp :8080 is broken at nat: no nat rule of the guest leads")
    assert way == "  the way: *:8080 → *:8080 → 127.0.0.1:8080 → 0.0.0.0:8080 → ✗ nat"
    assert "docker restart web" in remedy


def test_names_of_the_guests_reach_no_terminal_as_they_are() -> None:
    hop = Hop("container", "container", "ok", "a\x1b[2Jb\nc", facts={"name": "a\x1b[2Jb\nc"})
    verdict = Verdict("no-server", "container-socket", "nobody at \x1b[31m", "look\nthere")
    chain = Chain(":80", "", "tcp", "", (hop,), verdict)
    for text in (
        line(chain),
        *describe_failure(chain).split("\n"),
        *differences({"port": 80, "container": "a"}, [traced(chain)]),
    ):
        assert text.isprintable()
    assert len(describe_failure(chain).split("\n")) == 3


def traced(chain: Chain) -> Trace:
    """A trace of one chain."""
    return Trace("linuxkit", "80", 0.0, (chain,))


def test_what_is_expected_is_held_against_the_hops() -> None:
    traces = trace_all(machine())
    right = {"port": 8080, "guest": "0.0.0.0:8080", "to": "172.17.0.2:80", "network": "bridge", "container": "web"}
    assert differences(right, traces) == []
    assert differences({**right, "container": "other", "bridge": None}, traces) == [
        "tcp :8080: container is web, not other"
    ]
    assert differences({"port": 8080, "address": "127.0.0.1", "target": "127.0.0.1:9"}, traces) == [
        "tcp :8080: target is 127.0.0.1:8080, not 127.0.0.1:9"
    ]
    assert differences({"port": 80}, traces) == ["nothing is forwarded from tcp port 80"]
    assert differences({"port": 8080, "protocol": "udp"}, traces) == ["nothing is forwarded from udp port 8080"]


def test_a_chain_whose_host_port_is_free_is_known_by_its_container() -> None:
    traces = trace_all(machine())
    assert differences({"container": "web", "container_port": 80}, traces) == []
    assert differences({"port": 8080, "container": "web", "container_port": 81}, traces) == [
        "tcp :8080: container_port is 80, not 81"
    ]
    (text,) = differences({"container": "web", "container_port": 81}, traces)
    assert text.startswith("nothing is forwarded to tcp port 81 of container web; docker ps --all shows")


def test_a_planned_chain_that_is_not_there_is_named() -> None:
    (text,) = differences({"port": 80, "container": "web", "container_port": 8080}, ())
    assert text.startswith("nothing is forwarded from tcp port 80, which is to lead to tcp port 8080 of container web")
    (text,) = differences({"port": 53, "protocol": "udp", "target": "127.0.0.1:53"}, ())
    assert "udp port 53, which is to lead to 127.0.0.1:53 in the guest" in text


def test_a_broken_chain_is_not_compared() -> None:
    assert differences({"port": 8080, "container": "other", "container_port": 80}, trace_all(broken())) == []
