"""dns-forwarder: the names of Docker Desktop and of the host, over UDP and TCP, in the guest and in containers."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import slow_dns
from conftest import Ask
from docker.models.containers import Container
from testinfra.host import Host

from portchain.protocol.names import GUEST_NAMES, HOST_NAMES, PROXY_NAMES
from support.waiting import eventually

Inside = Callable[[str], "Container | None"]
IPV4, IPV6 = 1, 28
HOST, GUEST = "192.168.65.2", "192.168.65.3"
CROWD = """
import concurrent.futures, json, socket, sys
def look_up(number):
    try:
        found = socket.getaddrinfo(f"n{number}.crowd.test", 80, proto=socket.IPPROTO_TCP)
        return next(place[0] for family, *_, place in found if family == socket.AF_INET)
    except OSError as error:
        return str(error)
with concurrent.futures.ThreadPoolExecutor(300) as pool:
    found = list(pool.map(look_up, range(300)))
print(json.dumps({one: found.count(one) for one in found}))
"""


@pytest.fixture
def inside(engine: docker.DockerClient, probe: Callable[..., Any]) -> Inside:
    """A container on a network of that kind; None for the guest itself."""

    def run(network: str) -> Container | None:
        if network == "guest":
            return None
        return probe(network=engine.networks.create("names").name if network == "user network" else network)

    return run


def run(host: Host, container: Container | None, *command: str) -> str:
    """What a command prints in a container or in the guest."""
    if container is None:
        return str(host.check_output(shlex.join(command)))
    status, output = container.exec_run(list(command))
    assert status == 0, output.decode()
    return str(output.decode())


@pytest.mark.parametrize("network", ["guest", "bridge", "user network", "host"])
def test_names_resolve(ask_all: Ask, inside: Inside, run_dir: Path, network: str) -> None:
    container = inside(network)
    address, known = (run_dir / "hosts").read_text().split()[:2]
    wanted = dict.fromkeys(HOST_NAMES, HOST) | dict.fromkeys((*GUEST_NAMES, *PROXY_NAMES), GUEST) | {known: address}
    for transport in ("udp", "tcp"):
        answers = ask_all(list(wanted), IPV4, transport, container)
        assert {name: answer["addresses"] for name, answer in answers.items()} == {
            name: [found] for name, found in wanted.items()
        }


@pytest.mark.parametrize("network", ["guest", "bridge", "user network", "host"])
def test_what_has_an_ipv4_address_here_has_no_other_elsewhere(
    ask_all: Ask, inside: Inside, run_dir: Path, network: str, resolve_slowly: Callable[..., None]
) -> None:
    resolve_slowly()
    names = [*HOST_NAMES, *GUEST_NAMES, *PROXY_NAMES, (run_dir / "hosts").read_text().split()[1]]
    answers = ask_all(names, IPV6, "udp", inside(network))
    assert {name: (answer["status"], answer["records"]) for name, answer in answers.items()} == dict.fromkeys(
        names, (0, 0)
    )


def test_names_resolve_in_builds(engine: docker.DockerClient, image: str) -> None:
    names = ("host.docker.internal", "docker.for.mac.localhost", "vm.docker.internal")
    lines = [f"FROM {image}", *(f"RUN getent ahostsv4 {name} >>/found" for name in names)]
    built, _ = engine.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), rm=True, nocache=True)
    try:
        found = engine.containers.run(built.id, ["/found"], entrypoint="cat", remove=True).decode()
    finally:
        engine.images.remove(built.id, force=True)
    assert [line.split()[0] for line in found.splitlines() if "STREAM" in line] == [HOST, HOST, GUEST]


@pytest.mark.parametrize("network", ["guest", "bridge", "user network", "host"])
def test_hundreds_of_lookups_at_once_are_answered(
    host: Host, inside: Inside, network: str, resolve_slowly: Callable[..., None]
) -> None:
    resolve_slowly()
    assert json.loads(run(host, inside(network), "python3", "-c", CROWD)) == {slow_dns.FOUND: 300}


@pytest.mark.parametrize("network", ["guest", "bridge", "user network", "host"])
def test_short_names_are_searched_for(
    host: Host, inside: Inside, network: str, resolve_slowly: Callable[..., None]
) -> None:
    resolve_slowly("one.test", "two.test")
    eventually(lambda: "one.test two.test" in run(host, None, "cat", "/etc/resolv.conf"), "the domains in the guest")
    container = inside(network)
    assert "search one.test two.test\n" in run(host, container, "cat", "/etc/resolv.conf") + "\n"
    assert run(host, container, "getent", "ahostsv4", "short").split()[:3:2] == [slow_dns.FOUND, "short.one.test"]


def test_nothing_is_searched_if_that_is_asked_for(host: Host, resolve_by: Callable[..., None]) -> None:
    resolve_by([], ["one.test"])
    eventually(lambda: "search" in run(host, None, "cat", "/etc/resolv.conf"), "a domain in the guest")
    resolve_by([], ["."])
    eventually(lambda: "search" not in run(host, None, "cat", "/etc/resolv.conf"), "no domain in the guest")
    assert run(host, None, "cat", "/etc/resolv.conf") == f"nameserver {GUEST}"
