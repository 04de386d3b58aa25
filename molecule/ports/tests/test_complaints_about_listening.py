"""What users of such forwarders complain about: when and where a port is listened on. A test for each theme."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from probing import Guest, answered, ask, datagram, host_port, listeners, refused
from testinfra.host import Host

from support.host_ports import free_port, free_ports
from support.waiting import eventually

Probe = Callable[..., Any]
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
ADDRESSES = ("0.0.0.0", "127.0.0.1", "::", "::1")


def endpoint(address: str, port: int) -> str:
    """``127.0.0.1:80`` or ``[::1]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def reached(address: str) -> str:
    """The loopback address at which a listener on ``address`` is reached."""
    return WILDCARDS.get(address, address)


def refusal_of(start: Callable[[], Any], within: float = 1.0) -> str:
    """Why a start fails, which it is to say at once."""
    started = time.monotonic()
    with pytest.raises(docker.errors.APIError) as refusal:
        start()
    assert time.monotonic() - started < within
    return str(refusal.value.explanation)


def test_in_use_names_side_pid_and_process_of_the_host(engine: Any, probe: Probe, image: str) -> None:
    port, other = free_ports(2)
    container = engine.containers.create(image, ports={"7000": port, "7001": other})
    with socket.create_server(("0.0.0.0", port)):
        said = refusal_of(container.start)
        assert f"Ports are not available: exposing port TCP 0.0.0.0:{port} -> 0.0.0.0:0: listen tcp" in said
        assert "bind: address already in use" in said
        assert f"(pid {os.getpid()}) listens there on the host" in said
        assert refused(other)
    container.start()
    answered(port)
    container.remove(force=True)


def test_in_use_names_the_container_that_has_the_port(engine: Any, probe: Probe, image: str) -> None:
    port = free_port()
    probe(ports={"7000": ("127.0.0.1", port)}, name="first", hostname="first")
    container = engine.containers.create(image, ports={"7000": port}, name="second")
    assert "first" in refusal_of(container.start)
    answered(port)
    assert b"first" in ask(port)


def test_a_port_in_use_in_the_guest_alone_is_no_hindrance(host: Host, probe: Probe) -> None:
    port = free_port()
    server = f"python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", {port})); time.sleep(60)'"
    holder = host.check_output(f"setsid {server} >/dev/null 2>&1 </dev/null & echo $!")
    try:
        eventually(lambda: host.socket(f"tcp://127.0.0.1:{port}").is_listening, "a listener in the guest")
        container = probe(ports={"7000": port}, hostname="published")
        assert host_port(container) == port
        answered(port)
        assert b"published" in ask(port)
    finally:
        host.run(f"kill {holder}")


@pytest.fixture(scope="module")
def guest_binds(engine: Any, image: str) -> Iterator[dict[str, int]]:
    """A port in the guest for each address that is listened on there, TCP and UDP, behind no forward of its own."""
    ports = dict(zip(ADDRESSES, free_ports(len(ADDRESSES)), strict=True))
    command = [f"{p}:{endpoint(address, port)}" for address, port in ports.items() for p in ("tcp", "udp")]
    container = engine.containers.run(image, command, network_mode="host", detach=True)
    yield ports
    container.remove(force=True)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("host_bind", ADDRESSES)
def test_ipv6_matrix(guest: Guest, guest_binds: dict[str, int], host_bind: str, protocol: str) -> None:
    for guest_bind, guest_port in guest_binds.items():
        port = free_port()
        local = endpoint(host_bind, port)
        guest.expose(local, endpoint(reached(guest_bind), guest_port), protocol)
        try:
            if protocol == "tcp":
                answered(port, reached(host_bind))
                assert refused(port, "::1" if ":" not in host_bind else "127.0.0.1")
            else:
                assert datagram(port, b"hello", reached(host_bind)) == b"hello"
        finally:
            guest.unexpose(local, protocol)


@pytest.mark.parametrize("address", [*ADDRESSES, "127.0.0.3"])
def test_ipv6_of_what_containers_publish(probe: Probe, address: str) -> None:
    port = free_port()
    container = probe(ports={"7000/tcp": (address, port), "7000/udp": (address, port)})
    answered(port, reached(address))
    assert datagram(port, b"hello", reached(address)) == b"hello"
    container.reload()
    assert {(end["HostIp"], end["HostPort"]) for end in container.ports["7000/tcp"]} == {(address, str(port))}


def test_published_without_an_address_is_both_families(probe: Probe) -> None:
    port = free_port()
    probe(ports={"7000": port})
    for address in ("127.0.0.1", "::1"):
        answered(port, address)


def test_ports_under_1024(probe: Probe) -> None:
    probe(ports={"7000/tcp": ("127.0.0.7", 80), "7000/udp": ("127.0.0.7", 53)})
    answered(80, "127.0.0.7")
    assert datagram(53, b"hello", "127.0.0.7") == b"hello"


def test_ports_under_1024_are_refused_by_name_of_the_rule(engine: Any, probe: Probe, image: str) -> None:
    container = engine.containers.create(image, ports={"7000": ("127.0.0.1", 81)})
    said = refusal_of(container.start)
    assert "host_forwarder_bind" in said
    assert "host_forwarder_privileged_ports: true" in said
    assert refused(81)


def test_bind_address_exact(probe: Probe) -> None:
    port = free_port()
    for address in ("127.0.0.1", "127.0.0.2"):
        probe(ports={"7000": (address, port)}, hostname=f"at-{address.replace('.', '-')}")
    for address in ("127.0.0.1", "127.0.0.2"):
        answered(port, address)
        assert f"at-{address.replace('.', '-')}".encode() in ask(port, address=address)
    assert refused(port, "127.0.0.3")
    assert refused(port, "::1")


def test_host_network_mode_within_a_second(probe: Probe) -> None:
    everywhere, loopback, datagrams = free_ports(3)
    command = [f"tcp:0.0.0.0:{everywhere}", f"tcp:127.0.0.1:{loopback}", f"udp:127.0.0.1:{datagrams}"]
    container = probe(*command, network_mode="host")
    eventually(lambda: b"ready" in container.logs(), "listeners in the guest")
    for port in (everywhere, loopback):
        answered(port, deadline=1)
    assert datagram(datagrams, b"hello") == b"hello"
    container.kill()
    for port in (everywhere, loopback):
        eventually(lambda port=port: refused(port), "no listener for what is gone", 1)


def test_ranges(engine: Any, probe: Probe, image: str) -> None:
    ports = free_ports(100)
    bindings = {f"{7000 + index}/tcp": port for index, port in enumerate(ports)}
    container = engine.containers.create(image, [f"tcp:[::]:{7000 + index}" for index in range(100)], ports=bindings)
    started = time.monotonic()
    container.start()
    taken = time.monotonic() - started
    assert not [port for port in ports if refused(port)]
    for port in ports:
        answered(port)
    container.remove(force=True)
    assert not [port for port in ports if not refused(port)]
    assert taken < 20


def test_swarm_and_random_ports(engine: Any, probe: Probe, image: str) -> None:
    """Each publish mode: what is exposed, port 0, no port, a range, and a service of a swarm in host mode."""
    low, high = itertools.chain(free_ports(2))
    containers = [
        probe(publish_all_ports=True),
        *(probe(ports={"7000": asked}) for asked in ("0", None, f"{low}-{high}")),
    ]
    for container in containers:
        answered(host_port(container))
    port = free_port()
    engine.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377")
    try:
        mode = docker.types.EndpointSpec(ports={port: (7000, "tcp", "host")})
        engine.services.create(image, name="swarming", endpoint_spec=mode)
        answered(port, deadline=20)
        answered(port, "::1")
        engine.services.get("swarming").remove()
        eventually(lambda: refused(port), "no listener for a service that is gone", 20)
    finally:
        engine.swarm.leave(force=True)


def test_nothing_is_listened_on_that_nobody_asked_for(guest: Guest, probe: Probe) -> None:
    port = free_port()
    probe(ports={"7000": port})
    mine = {end for end in listeners() if end[1].endswith(f":{port}")}
    assert mine in ({("tcp", f"*:{port}")}, {("tcp", f"0.0.0.0:{port}"), ("tcp", f"[::]:{port}")})
    assert [row["target"] for row in guest.forwards() if row["listen"].endswith(f":{port}")] == [f"127.0.0.1:{port}"]
