"""Chains of an engine whose ``userland-proxy`` is on: docker-proxy takes what comes, and dials the container."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from probing import Guest, answered, datagram, host_port
from testinfra.host import Host

from support.host_ports import free_port
from support.waiting import eventually

Trace = Callable[..., dict[str, Any]]
Served = Callable[..., tuple[Any, int]]
Mended = Callable[[int | str], None]
WAY = ["host-socket", "forward", "guest-listener", "proxy", "filter", "bridge", "veth", "container", "container-socket"]


@pytest.fixture(scope="module", autouse=True)
def with_proxy(guest_name: str) -> Iterator[None]:
    """The engine with its proxy, and afterwards as it was."""

    def configure(text: str) -> None:
        command = ["portchain", "engine", "--guest", guest_name, "config", "-"]
        subprocess.run(command, input=text, text=True, capture_output=True, timeout=120, check=True)

    configure('{"userland-proxy": true}')
    yield
    configure("")


def way(found: dict[str, Any]) -> list[str]:
    """The hops of the only chain."""
    (chain,) = found["chains"]
    return [hop["kind"] for hop in chain["hops"]]


def whole(trace: Trace, asked: str, evidence: str) -> list[str]:
    """The hops of a chain that is whole, and that a probe gets through."""
    found = eventually(lambda: trace(asked, "--probe"), "a trace")
    assert found["verdict"] is None, found["verdict"]
    hops = {hop["kind"]: hop for hop in found["chains"][0]["hops"]}
    if "proxy" in hops:
        assert "dialled from " in hops["proxy"]["evidence"]
    assert evidence in hops["container-socket"]["evidence"]
    return way(found)


def test_every_way_in_leads_through_docker_proxy(probe: Any, trace: Trace) -> None:
    port, other = free_port(), free_port()
    chosen = probe(ports={"7000/tcp": None})
    probe(ports={"7000/tcp": [port, ("127.0.0.2", other)], "7000/udp": port})
    probe(ports={"7000/tcp": ("::1", other)})
    answered(port)
    answered(other, "::1")
    answered(host_port(chosen))
    datagram(port, b"ready")
    for asked in (f"{port}/tcp", f"[::1]:{port}/tcp", f"127.0.0.2:{other}", f"[::1]:{other}", str(host_port(chosen))):
        assert whole(trace, asked, "SYN+ACK") == WAY, asked
    assert whole(trace, f"{port}/udp", "answered") == WAY


def test_an_address_of_the_guest_that_is_no_loopback_is_translated(served: Served, guest: Guest, trace: Trace) -> None:
    _, inside = served()
    port = free_port()
    guest.expose(f"127.0.0.1:{port}", f"172.17.0.1:{inside}")
    try:
        answered(port)
        assert whole(trace, str(port), "SYN+ACK") == ["nat" if kind == "proxy" else kind for kind in WAY]
    finally:
        guest.unexpose(f"127.0.0.1:{port}")


@pytest.fixture(params=["bridge", "six"])
def on_six(request: Any, engine: Any, raw_engine: Any, probe: Any, image: str) -> int:
    """A port of the guest's ``::1`` that a container publishes, one with an IPv6 address of its own or without."""
    pool = docker.types.IPAMPool(subnet="fd77::/64")
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    engine.networks.create("six", driver="bridge", enable_ipv6=True, ipam=ipam)
    port = free_port()
    words = {"detach": True, "network": request.param, "stop_signal": "SIGKILL"}
    raw_engine.containers.run(image, ports={"7000/tcp": ("::1", port)}, **words)
    return port


def test_ipv6_is_led_on(on_six: int, guest: Guest, trace: Trace) -> None:
    port = free_port()
    guest.expose(f"127.0.0.1:{port}", f"[::1]:{on_six}")
    try:
        answered(port, deadline=30)  # an IPv6 address is not answered for at once
        assert whole(trace, str(port), "SYN+ACK") == WAY
    finally:
        guest.unexpose(f"127.0.0.1:{port}")


def proxy_of(host: Host, port: int) -> str:
    """The pid of the docker-proxy that serves a port of the guest."""
    return str(host.check_output(f"pgrep -f 'docker-proxy .*-host-port {port} '")).split()[0]


def test_a_proxy_that_ended(served: Served, host: Host, trace: Trace, mended: Mended) -> None:
    container, port = served()
    host.check_output(f"kill -9 {proxy_of(host, port)}")
    eventually(lambda: trace(port)["verdict"], "the end of docker-proxy")
    found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("guest-listener-missing", "guest-listener")
    assert found["remedy"] == f"docker restart {container.name}"
    container.restart(timeout=0)
    mended(port)


def test_a_proxy_that_leads_elsewhere(served: Served, host: Host, in_engine: Any, trace: Trace, mended: Mended) -> None:
    container, port = served()
    host.check_output(f"kill -9 {proxy_of(host, port)}")
    other = f"/usr/sbin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port {port} -container-ip 172.17.0.250"
    in_engine(f"sh -c 'exec 3>/dev/null; {other} -container-port 7000 >/dev/null 2>&1 &'")
    try:
        eventually(lambda: (trace(port)["verdict"] or {}).get("code") == "proxy-elsewhere", "the other docker-proxy")
        found = trace(port)["verdict"]
        assert f"to 172.17.0.250:7000, which is not where {container.name} is published" in found["text"]
    finally:
        host.check_output(f"kill -9 {proxy_of(host, port)}")
    container.restart(timeout=0)
    mended(port)


DROPS = ["-d 127.0.0.1 -p tcp -m tcp --dport {port}", "-d 172.17.0.0/16 -p tcp -m tcp --dport 7000"]


@pytest.mark.parametrize("rule", DROPS)
def test_a_rule_that_drops_before_or_after_it(rule: str, served: Served, changed: Any, trace: Trace) -> None:
    _, port = served()
    text = f"OUTPUT {rule.format(port=port)} -j DROP"
    with changed(f"iptables -I {text}", f"iptables -D {text}"):
        found = trace(port)
    assert (found["verdict"]["code"], found["verdict"]["hop"]) == ("filter-drop", "filter")
    assert "proxy" in way(found)


def test_a_container_that_is_paused_behind_it(served: Served, trace: Trace) -> None:
    container, port = served()
    container.pause()
    found = trace(port)["verdict"]
    container.unpause()
    assert found["code"] == "container-paused"


def test_the_report_draws_it(served: Served, guest_name: str, tmp_path: Path) -> None:
    _, port = served()
    page = tmp_path / "page.html"
    command = ["portchain", "report", "--guest", guest_name, "--output", str(page)]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    text = page.read_text()
    assert ">proxy 172.17.0." in text
    assert f"*:{port}" in text
