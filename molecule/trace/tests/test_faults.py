"""Each fault made for real, and nothing else broken: the verdict names it, and the chain is whole once it is mended."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import docker
import pytest
from probing import Guest, answered
from testinfra.host import Host

from support.host_ports import free_port
from support.waiting import eventually

Served = Callable[..., tuple[Any, int]]
Verdict = Callable[[int | str], str]
Trace = Callable[..., dict[str, Any]]
Changed = Callable[[str, str], Any]
Mended = Callable[[int | str], None]


def address_of(container: Any) -> str:
    """The container's address in the default network."""
    container.reload()
    return str(container.attrs["NetworkSettings"]["IPAddress"])


def pair_of(container: Any, host: Host) -> str:
    """The guest's end of the container's veth pair."""
    index = container.exec_run("cat /sys/class/net/eth0/iflink").output.decode().strip()
    found = host.check_output(f"grep -lx {index} /sys/class/net/*/ifindex")
    return found.split("/")[-2]


def fails(port: int) -> bool:
    """Whether a client gets no answer from a probe."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"page\n")
            return not client.recv(1)
    except OSError:
        return True


def test_nothing_published(trace: Trace) -> None:
    found = trace(free_port())["verdict"]
    assert (found["code"], found["hop"]) == ("nothing-published", "forward")
    assert "docker run -p" in found["remedy"]


def test_nothing_published_but_the_host_itself_answers(trace: Trace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = trace(server.getsockname()[1])["verdict"]
    assert found["code"] == "nothing-published"
    assert f"(pid {os.getpid()})" in found["text"]


def test_guest_listener_missing(guest: Guest, trace: Trace) -> None:
    port = free_port()
    guest.expose(f"127.0.0.1:{port}", f"127.0.0.1:{port}")
    found = trace(port)["verdict"]
    guest.unexpose(f"127.0.0.1:{port}")
    assert (found["code"], found["hop"]) == ("guest-listener-missing", "guest-listener")
    assert f"127.0.0.1:{port}" in found["text"]


def rule_for(host: Host, port: int) -> str:
    """The engine's nat rule for a port of the guest, as iptables takes it after -A or -D."""
    rules = host.check_output("iptables -t nat -S DOCKER").splitlines()
    return next(line for line in rules if f"--dport {port} " in line).removeprefix("-A ")


def test_dnat_missing(served: Served, host: Host, changed: Changed, trace: Trace, mended: Mended) -> None:
    _, port = served()
    rule = rule_for(host, port)
    with changed(f"iptables -t nat -D {rule}", f"iptables -t nat -A {rule}"):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("dnat-missing", "nat")
    mended(port)


def test_masquerade_missing(served: Served, changed: Changed, trace: Trace, mended: Mended) -> None:
    _, port = served()
    rule = "POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE"
    with changed(f"iptables -t nat -D {rule}", f"iptables -t nat -A {rule}"):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("masquerade-missing", "nat")
    mended(port)


def test_route_localnet_off(served: Served, changed: Changed, host: Host, trace: Trace, mended: Mended) -> None:
    _, port = served()
    setting = "sysctl -w net.ipv4.conf.docker0.route_localnet="
    with changed(f"{setting}0", f"{setting}1"):
        found = trace(port)["verdict"]
        assert fails(port)
        assert (found["code"], found["hop"]) == ("route-localnet-off", "nat")
        host.check_output(found["remedy"].partition(" -- ")[2])
        mended(port)


@pytest.mark.parametrize("target", ["RETURN", "ACCEPT", "DNAT --to-destination 172.17.0.250:7000"])
def test_dnat_shadowed(target: str, served: Served, changed: Changed, host: Host, trace: Trace) -> None:
    _, port = served()
    rule = f"DOCKER -p tcp -m tcp --dport {port} -j {target}"
    with changed(f"iptables -t nat -I {rule}", f"iptables -t nat -D {rule}"):
        found = trace(port)["verdict"]
        assert fails(port)
        assert (found["code"], found["hop"]) == ("dnat-shadowed", "nat")
        host.check_output(found["remedy"].partition(" -- ")[2])
        assert trace(port)["verdict"] is None
        host.check_output(f"iptables -t nat -I {rule}")


DROPS = {
    "on the way in": ("filter -I", "OUTPUT -d {address} -p tcp -m tcp --dport 7000 -j DROP"),
    "rejected": ("filter -I", "OUTPUT -d {address} -p tcp -m tcp --dport 7000 -j REJECT"),
    "before translation": ("raw -I", "OUTPUT -p tcp -m tcp --dport {port} -j DROP"),
    "the answers": ("filter -I", "INPUT -i docker0 -p tcp -m tcp --sport 7000 -j DROP"),
    "not but": ("filter -I", "OUTPUT ! -d 127.0.0.0/8 -p tcp -m tcp --dport 7000 -m conntrack --ctstate NEW -j DROP"),
}


@pytest.mark.parametrize("drop", DROPS)
def test_filter_drop(drop: str, served: Served, changed: Changed, trace: Trace, mended: Mended) -> None:
    container, port = served()
    where, text = DROPS[drop]
    rule = text.format(address=address_of(container), port=port)
    command = f"iptables -t {where} {rule}"
    with changed(command, command.replace("-I", "-D")):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("filter-drop", "filter")
    assert rule.split(" -j ")[0].split("--")[-1] in found["text"]
    mended(port)


def test_filter_drop_by_a_native_nft_rule(served: Served, changed: Changed, trace: Trace, mended: Mended) -> None:
    _, port = served()
    table = "table inet own { chain out { type filter hook output priority 10; tcp dport 7000 drop; }; }"
    with changed(f"nft '{table}'", "nft delete table inet own"):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("filter-drop", "filter")
    assert "inet own" in found["text"]
    mended(port)


@pytest.mark.parametrize("rule", ["INPUT -p tcp -m tcp --dport 7000", "OUTPUT -p tcp -m tcp --sport 7000"])
def test_filter_drop_in_the_container(rule: str, served: Served, host: Host, trace: Trace) -> None:
    container, port = served()
    container.reload()
    host.check_output(f"nsenter -t {container.attrs['State']['Pid']} -n iptables -A {rule} -j DROP")
    found = trace(port)["verdict"]
    assert fails(port)
    assert (found["code"], found["hop"]) == ("filter-drop", "container-socket")


def test_network_disconnected(engine: Any, served: Served, trace: Trace, verdict: Verdict, mended: Mended) -> None:
    container, port = served(name="alone")
    bridge = engine.networks.get("bridge")
    bridge.disconnect(container)
    eventually(lambda: verdict(port) != "whole", "the engine's removal of the port")
    found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("network-disconnected", "bridge")
    assert "docker network connect" in found["remedy"]
    bridge.connect(container)
    mended(port)


def test_network_disconnected_from_the_container(
    served: Served, changed: Changed, trace: Trace, mended: Mended
) -> None:
    container, port = served()
    container.reload()
    ip = f"nsenter -t {container.attrs['State']['Pid']} -n ip"
    route = "172.17.0.0/16 dev eth0 src " + address_of(container)
    back = f"{ip} route add {route} && {ip} route add default via 172.17.0.1"
    with changed(f"{ip} route flush dev eth0", back):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("network-disconnected", "container-socket")
    assert "no route back to 172.17.0.1" in found["text"]
    mended(port)


def test_veth_down(served: Served, host: Host, changed: Changed, trace: Trace, mended: Mended) -> None:
    container, port = served()
    pair = pair_of(container, host)
    with changed(f"ip link set {pair} down", f"ip link set {pair} up"):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("veth-down", "veth")
    assert pair in found["text"]
    mended(port)


def test_veth_down_inside_the_container(served: Served, host: Host, trace: Trace) -> None:
    container, port = served()
    container.reload()
    host.check_output(f"nsenter -t {container.attrs['State']['Pid']} -n ip link set eth0 down")
    found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("veth-down", "veth")


def test_veth_detached(served: Served, host: Host, changed: Changed, trace: Trace, mended: Mended) -> None:
    container, port = served()
    pair = pair_of(container, host)
    with changed(f"ip link set {pair} nomaster", f"ip link set {pair} master docker0"):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("veth-detached", "veth")
    mended(port)


def test_bridge_down(served: Served, engine: Any, changed: Changed, trace: Trace, mended: Mended) -> None:
    network = engine.networks.create("extra", driver="bridge")
    bridge = f"br-{network.id[:12]}"
    _, port = served(network="extra")
    with changed(f"ip link set {bridge} down", f"ip link set {bridge} up"):
        found = trace(port)["verdict"]
        assert fails(port)
    assert (found["code"], found["hop"]) == ("bridge-down", "bridge")
    mended(port)


def test_wrong_protocol_published(served: Served, trace: Trace, verdict: Verdict) -> None:
    _, port = served()
    found = trace(f"{port}/udp")["verdict"]
    assert found["code"] == "wrong-protocol"
    assert f"-p {port}:…/udp" in found["remedy"]
    assert verdict(f"{port}/tcp") == "whole"


def test_ipv6_asked_for_and_only_ipv4_listened_on(probe: Any, trace: Trace, verdict: Verdict) -> None:
    port = free_port()
    probe(ports={"7000/tcp": ("127.0.0.1", port)})
    answered(port)
    found = trace(f"[::1]:{port}")["verdict"]
    assert (found["code"], found["hop"]) == ("ipv6-half", "host-socket")
    assert verdict(f"127.0.0.1:{port}") == "whole"


def test_ipv6_listened_on_and_not_led_on(served: Served, guest: Guest, trace: Trace) -> None:
    _, inside = served()
    port = free_port()
    guest.expose(f"[::1]:{port}", f"[::1]:{inside}")
    found = trace(port)["verdict"]
    guest.unexpose(f"[::1]:{port}")
    assert found["code"] == "ipv6-half"
    assert found["hop"] in ("guest-listener", "nat")


@pytest.fixture
def with_ipv6(engine: Any, probe: Any) -> str:
    """The IPv6 address of a probe."""
    pool = docker.types.IPAMPool(subnet="fd77::/64")
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    network = engine.networks.create("six", driver="bridge", enable_ipv6=True, ipam=ipam)
    container = probe("tcp:[::]:7000", network=network.name)
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"]["six"]["GlobalIPv6Address"])


@pytest.mark.parametrize("masquerade", [False, True])
def test_ipv6_loopback_led_on(masquerade: bool, with_ipv6: str, guest: Guest, changed: Changed, trace: Trace) -> None:
    """No rule gets an answer for ``::1``; the container itself, where the remedy leads, gives one."""
    port, server = free_port(), f"[{with_ipv6}]:7000"
    guest.expose(f"127.0.0.1:{port}", f"[::1]:{port}")
    rules = [f"OUTPUT -p tcp -m tcp -d ::1 --dport {port} -j DNAT --to-destination {server}"]
    rules += ["POSTROUTING -s ::1 -j MASQUERADE"] * masquerade
    add, remove = (" && ".join(f"ip6tables -t nat {verb} {rule}" for rule in rules) for verb in ("-A", "-D"))
    with changed(add, remove):
        found = trace(port)["verdict"]
        assert fails(port)
    guest.unexpose(f"127.0.0.1:{port}")
    assert (found["code"], found["hop"]) == ("ipv6-half", "nat")
    assert found["remedy"] == f"lead the forward to {server} itself"
    guest.expose(f"127.0.0.1:{port}", server)
    answered(port)
    assert trace(port)["verdict"] is None
    guest.unexpose(f"127.0.0.1:{port}")


def test_a_forward_to_an_address_that_no_container_has(guest: Guest, trace: Trace) -> None:
    port = free_port()
    guest.expose(f"127.0.0.1:{port}", "172.17.0.250:80")
    found = trace(port)["verdict"]
    guest.unexpose(f"127.0.0.1:{port}")
    assert (found["code"], found["hop"]) == ("container-unknown", "container")
