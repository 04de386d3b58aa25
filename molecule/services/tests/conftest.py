"""What the tests of the services share."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import outside
import pytest
from docker.models.containers import Container
from probing import as_root, wait_for
from testinfra.host import Host

from portchain.guest.egress import Egress

REGISTRIES = ("registry.test", "other.test")
GATEWAY, SUBNET = "192.168.65.2", "192.168.65.0/24"
DNS_PROBE = Path(__file__).with_name("dns_probe.py").read_text()

Ask = Callable[..., dict[str, Any]]
Portchain = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def portchain(guest_name: str) -> Portchain:
    """Runs a command of portchain for the guest; ``status`` is the exit status that it has to have."""

    def run(command: str, *words: str, status: int = 0, **more: Any) -> subprocess.CompletedProcess[bytes]:
        program = [str(Path(sys.executable).with_name("portchain")), command, "--guest", guest_name, *words]
        done = subprocess.run(program, capture_output=True, timeout=60, check=False, **more)
        assert done.returncode == status, done.stderr.decode()
        return done

    return run


@pytest.fixture(scope="module")
def registry_port(tmp_path_factory: pytest.TempPathFactory, in_engine: Callable[[str], str]) -> Iterator[int]:
    """The port of a registry on the host's loopback, whose certificate the engine trusts while it is not made anew."""
    ca = outside.certificate(tmp_path_factory.mktemp("ca"), [*REGISTRIES, "host.docker.internal"])
    with outside.serving(server := outside.registry(ca)):
        port = int(server.server_address[1])
        encoded = base64.b64encode(ca.read_bytes()).decode()
        for name in (*REGISTRIES, f"host.docker.internal:{port}"):
            folder = f"/etc/docker/certs.d/{name}"
            in_engine(f"sh -c 'mkdir -p {folder} && echo {encoded} | base64 -d >{folder}/ca.crt'")
        yield port


@pytest.fixture
def proxy(registry_port: int) -> Iterator[outside.Proxy]:
    """A proxy on the host's loopback that leads every place to the registry."""
    with outside.serving(server := outside.Proxy(registry_port)):
        yield server


@pytest.fixture
def go_by(host: Host, guest_name: str) -> Iterator[Callable[..., None]]:
    """Writes the one file of rules (words of Egress.parse), and has what was there before put back."""
    path = Path(f"/var/lib/portchain/{guest_name}/policy/egress.json")

    def put(text: str) -> None:
        as_root("sh", "-c", 'umask 077; printf "%s" "$1" >"$2.new" && mv "$2.new" "$2"', "sh", text, str(path))
        egress = Egress.load(text)
        wanted = egress.dns_servers(GATEWAY) + egress.proxy_rules(SUBNET)
        found = "cat /run/egress/dns-servers /run/egress/tinyproxy.conf"
        wait_for(lambda: host.check_output(found) == wanted.strip(), f"the rules of {path} in the guest")

    before = as_root("cat", str(path))
    yield lambda **words: put(Egress.parse(**{"allowlist": [], **words}).dump())
    put(before)


@pytest.fixture
def ask(host: Host) -> Ask:
    """Asks the guest's name server, from the guest or a container: NAME, kind, transport; see dns_probe.py."""

    def run(name: str, kind: int = 1, transport: str = "udp", container: Container | None = None) -> dict[str, Any]:
        command = ["python3", "-c", DNS_PROBE, name, str(kind), transport]
        if container:
            status, output = container.exec_run(command)
            assert status == 0, output.decode()
        else:
            output = host.check_output(shlex.join(command))
        found: dict[str, Any] = json.loads(output)
        return found

    return run
