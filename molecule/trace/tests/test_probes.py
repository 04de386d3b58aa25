"""A probe is one real connection or datagram, and shows at each hop that it passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probing import answered, datagram
from testinfra.host import Host

from support.host_ports import free_port

TIMED = ["host-socket", "forward", "veth", "container", "container-socket"]


def hops_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By kind, of the only chain."""
    (chain,) = found["chains"]
    return {hop["kind"]: hop for hop in chain["hops"]}


def counted(host: Host, port: int) -> int:
    """How often the engine's nat rule for a port was met."""
    rules = host.check_output("iptables-save -c -t nat").splitlines()
    line = next(line for line in rules if f"--dport {port} -j DNAT" in line)
    return int(line[1:].partition(":")[0])


def test_a_connection_is_seen_at_each_hop(served: Any, trace: Any, host: Host) -> None:
    _, port = served()
    before = counted(host, port)
    found = trace(port, "--probe")
    hops = hops_of(found)
    assert [kind for kind, hop in hops.items() if hop["microseconds"] is not None] == TIMED
    assert all(hops[kind]["microseconds"] >= 0 for kind in TIMED)
    assert "SYN+ACK" in hops["container-socket"]["evidence"]
    assert f"counted {before} → {before + 1}" in hops["nat"]["evidence"]
    assert f"127.0.0.1:{port}" in hops["nat"]["evidence"]
    assert counted(host, port) == before + 1
    probe = found["chains"][0]["probe"]
    assert probe["answer"] == "end"
    assert 0 < probe["connect"] <= probe["total"]


def test_the_address_that_was_asked_about_is_probed(served: Any, trace: Any) -> None:
    _, port = served()
    for address in ("127.0.0.1", "[::1]"):
        hops = hops_of(trace(f"{address}:{port}", "--probe"))
        assert f"took the connection from {address}:" in hops["host-socket"]["evidence"]
        assert "SYN+ACK" in hops["container-socket"]["evidence"]


def test_a_datagram_is_seen_at_each_hop(probe: Callable[..., Any], trace: Any) -> None:
    port = free_port()
    probe(ports={"7000/udp": port})
    datagram(port, b"ready")
    found = trace(f"{port}/udp", "--probe")
    assert found["verdict"] is None
    hops = hops_of(found)
    assert [kind for kind, hop in hops.items() if hop["microseconds"] is not None] == TIMED
    assert hops["container-socket"]["evidence"] == "answered"


def test_a_probe_of_a_broken_chain_goes_as_far_as_it_gets(served: Any, trace: Any, changed: Any) -> None:
    _, port = served()
    rule = f"DOCKER -p tcp -m tcp --dport {port} -j RETURN"
    with changed(f"iptables -t nat -I {rule}", f"iptables -t nat -D {rule}"):
        found = trace(port, "--probe")
    hops = hops_of(found)
    assert found["verdict"]["code"] == "dnat-shadowed"
    assert hops["host-socket"]["evidence"]
    assert not hops["nat"]["evidence"]
    answered(port)


def test_a_probe_finds_what_cannot_be_seen(served: Any, trace: Any, changed: Any) -> None:
    """A rule whose condition the kernel alone can tell."""
    _, port = served()
    rule = "OUTPUT -p tcp -m tcp --dport 7000 -m length --length 0:65535 -j DROP"
    with changed(f"iptables -I {rule}", f"iptables -D {rule}"):
        unsure = trace(port)
        lost = trace(port, "--probe")
    assert unsure["verdict"] is None
    assert any("-m length" in note for note in unsure["chains"][0]["notes"])
    assert (lost["verdict"]["code"], lost["verdict"]["hop"]) == ("probe-lost", "forward")
