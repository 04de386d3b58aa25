"""host.docker.internal: servers on the host's loopback, reached from the guest and from containers of every kind."""

from __future__ import annotations

import functools
import json
import shlex
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

PROJECT = Path(__file__).parents[3]
GATEWAY = "192.168.65.2"
NAMES = ("host.docker.internal", "gateway.docker.internal")
PLACES = ("guest", "bridge", "user network", "host network")
SCRIPT = Path(__file__).with_name("host_access_probe.py").read_text()

Probe = Callable[..., dict[str, Any]]


def probe_command(function: str, *arguments: object) -> list[str]:
    """Runs a function of host_access_probe.py."""
    return ["python3", "-c", SCRIPT, function, json.dumps(arguments)]


def probe_guest(host: Host, function: str, *arguments: object) -> dict[str, Any]:
    """Run a function of host_access_probe.py in the guest; returns what it found."""
    found: dict[str, Any] = json.loads(host.check_output(shlex.join(probe_command(function, *arguments))))
    return found


def probe_container(container: Any, function: str, *arguments: object) -> dict[str, Any]:
    """The same in a container."""
    status, output = container.exec_run(probe_command(function, *arguments))
    assert status == 0, output.decode()
    found: dict[str, Any] = json.loads(output)
    return found


class Echo(socketserver.BaseRequestHandler):
    """Names the address that was connected to, then sends back what comes."""

    def handle(self) -> None:
        self.request.sendall(f"{self.request.getsockname()[0]}\n".encode())
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


class EchoDatagram(socketserver.BaseRequestHandler):
    """Sends back what came."""

    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data, self.client_address)


class Server6(Server):
    address_family = socket.AF_INET6


def serving(kind: type[Server], address: str) -> Iterator[int]:
    with kind((address, 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server on the host's 127.0.0.1."""
    yield from serving(Server, "127.0.0.1")


@pytest.fixture(scope="module")
def port6() -> Iterator[int]:
    """A server on the host's ::1 alone."""
    yield from serving(Server6, "::1")


@pytest.fixture(scope="module")
def udp_port() -> Iterator[int]:
    """A server of datagrams on the host's 127.0.0.1."""
    with socketserver.UDPServer(("127.0.0.1", 0), EchoDatagram) as server:
        server.max_packet_size = 65536
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def unused() -> int:
    """A port of the host's loopback at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    return found


@pytest.fixture(scope="module")
def containers(engine: Any) -> Iterator[dict[str, Any]]:
    """One idle container for each kind of network."""
    tag = next(tag for image in engine.images.list() for tag in image.tags if tag.startswith("portchain/kicbase:"))
    network = engine.networks.create("host-access")
    kinds: dict[str, dict[str, str]] = {
        "bridge": {},
        "user network": {"network": network.name},
        "host network": {"network_mode": "host"},
    }
    options = {"entrypoint": ["sleep", "300"], "detach": True, "extra_hosts": {"by-hand": "host-gateway"}}
    started = {kind: engine.containers.run(tag, **options, **more) for kind, more in kinds.items()}
    yield started
    for container in started.values():
        container.remove(force=True)
    network.remove()


@pytest.fixture(params=PLACES)
def probe(request: pytest.FixtureRequest, host: Host, containers: dict[str, Any]) -> Probe:
    """Runs a function of host_access_probe.py in the guest or a container; returns what it found."""
    if request.param == "guest":
        return functools.partial(probe_guest, host)
    return functools.partial(probe_container, containers[request.param])


@pytest.mark.parametrize("name", NAMES)
def test_the_names_resolve(probe: Probe, name: str) -> None:
    found = probe("resolve", name)
    assert (found["v4"], found["v6"], found["over_tcp"]) == ([GATEWAY], [], GATEWAY)
    assert found["seconds"] < 1


def test_a_name_that_is_not_there_is_said_not_to_be(probe: Probe) -> None:
    found = probe("resolve", "nothing.docker.internal")
    assert (found["v4"], found["over_tcp"]) == ([], "")
    assert found["seconds"] < 1


def test_a_server_on_the_hosts_loopback_is_reached(probe: Probe, port: int) -> None:
    size = 3_000_000
    assert probe("talk", NAMES[0], port, size) == {"greeting": "127.0.0.1", "echoed": size}


def test_a_server_on_the_hosts_ipv6_loopback_is_reached(probe: Probe, port6: int) -> None:
    assert probe("talk", NAMES[0], port6, 10) == {"greeting": "::1", "echoed": 10}


@pytest.mark.parametrize("size", [1, 65507])
def test_a_server_of_datagrams_is_reached(probe: Probe, udp_port: int, size: int) -> None:
    assert probe("exchange", NAMES[0], udp_port, size) == {"echoed": size}


def test_a_port_without_a_server_is_a_reset(probe: Probe, unused: int) -> None:
    began = time.monotonic()
    assert probe("talk", NAMES[1], unused, 1) == {"error": "ConnectionResetError"}
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("kind", ["bridge", "user network"])
def test_host_gateway_is_the_same_place(containers: dict[str, Any], kind: str, port: int) -> None:
    assert probe_container(containers[kind], "talk", "by-hand", port, 1) == {"greeting": "127.0.0.1", "echoed": 1}


@pytest.fixture
def allow(guest_name: str, pytestconfig: pytest.Config) -> Iterator[Callable[[list[str]], None]]:
    """Changes the policy as people do, with a playbook; the inventory's own is put back."""
    command = [str(Path(sys.executable).with_name("ansible-playbook"))]
    command += ["playbooks/guest.yml", "--tags", "guest", "--limit", guest_name]
    command += ["-i", pytestconfig.getoption("--ansible-inventory")]

    def play(*more: str) -> None:
        done = subprocess.run([*command, *more], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    yield lambda ports: play("--extra-vars", json.dumps({"guest_host_access": ports}))
    play()


def test_the_policy_can_be_changed_while_the_guest_runs(
    host: Host, guest_name: str, state: dict[str, Any], allow: Callable[[list[str]], None], port: int
) -> None:
    allow([f"1-{port - 1}", f"{port + 1}"])
    assert probe_guest(host, "talk", NAMES[0], port, 1) == {"error": "ConnectionResetError"}
    log = (Path("/var/log/portchain") / guest_name / "guest/current").read_text()
    said = f"guest {guest_name}: a connection to host port {port} is refused: guest_host_access allows"
    assert f"{said} 1-{port - 1}, {port + 1}\n" in log
    allow([str(port)])
    assert probe_guest(host, "talk", NAMES[0], port, 1) == {"greeting": "127.0.0.1", "echoed": 1}
    assert json.loads((Path("/run/portchain") / guest_name / "state.json").read_text())["pid"] == state["pid"]


def test_the_program_that_leads_to_the_host_has_no_rights(guest_name: str, state: dict[str, Any]) -> None:
    children = Path(f"/proc/{state['supervisor']}/task/{state['supervisor']}/children").read_text().split()
    named = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in children}
    (pid,) = [pid for pid, words in named.items() if "portchain.host.drivers.namespace.gateway" in words]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert {int(status[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert "0" not in status["Uid"].split()
    assert status["NoNewPrivs"] == "1"
