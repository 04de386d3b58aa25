"""Chains in a line, and how they are told apart."""

from __future__ import annotations

from dataclasses import replace

from one_container import RULES, container_space, forward, guest_space, machine, web

from portchain.chain.model import Machine
from portchain.chain.summary import failure, line, missed, snapshot
from portchain.chain.trace import Chain, Hop, Trace, Verdict
from portchain.chain.walk import trace_all

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
        forwarder={"pid": 5, "channel_pid": 6},
    )
    assert snapshot(trace_all(busy)) == f"{WHOLE}\n"


def broken() -> Machine:
    """Without its nat rule."""
    return machine(space=guest_space("\n".join(one for one in RULES.splitlines() if "--to-destination" not in one)))


def test_a_broken_chain_ends_where_it_breaks() -> None:
    (trace,) = trace_all(broken())
    assert line(trace.chains[0]) == "tcp :8080 → 0.0.0.0:8080 → broken: dnat-missing"
    first, way, remedy = failure(trace.chains[0]).splitlines()
    assert first.startswith("tcp :8080 is broken at nat: no nat rule of the guest leads")
    assert way == "  the way: *:8080 → *:8080 → 127.0.0.1:8080 → 0.0.0.0:8080 → ✗ nat"
    assert "docker restart web" in remedy


def test_names_of_the_guests_reach_no_terminal_as_they_are() -> None:
    hop = Hop("container", "container", "ok", "a\x1b[2Jb\nc", facts={"name": "a\x1b[2Jb\nc"})
    verdict = Verdict("no-server", "container-socket", "nobody at \x1b[31m", "look\nthere")
    chain = Chain(":80", "", "tcp", "", (hop,), verdict)
    for text in (line(chain), *failure(chain).split("\n"), *missed({"port": 80, "container": "a"}, [traced(chain)])):
        assert text.isprintable()
    assert len(failure(chain).split("\n")) == 3


def traced(chain: Chain) -> Trace:
    """A trace of one chain."""
    return Trace("linuxkit", "80", 0.0, (chain,))


def test_what_is_expected_is_held_against_the_hops() -> None:
    traces = trace_all(machine())
    right = {"port": 8080, "guest": "0.0.0.0:8080", "to": "172.17.0.2:80", "network": "bridge", "container": "web"}
    assert missed(right, traces) == []
    assert missed({**right, "container": "other", "bridge": None}, traces) == ["tcp :8080: container is web, not other"]
    assert missed({"port": 80}, traces) == ["nothing is forwarded from tcp port 80"]
    assert missed({"port": 8080, "protocol": "udp"}, traces) == ["nothing is forwarded from udp port 8080"]
