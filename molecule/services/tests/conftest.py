"""What the tests of the services share."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import outside
import pytest
import slow_dns
from docker.models.containers import Container
from probing import as_root, connect
from testinfra.host import Host

from portchain.host.name_resolution import NameResolution
from portchain.host.shares import Shares
from portchain.protocol.egress import Egress
from support.waiting import eventually

REGISTRIES = ("registry.test", "other.test")
GATEWAY, SUBNET = "192.168.65.2", "192.168.65.0/24"
# Whose the shared folders are: the one who runs the tests, but for root.
OWNER = os.getuid() or 4711
SLOW_ADDRESS = "127.8.5.3"
SLOW_DNS = slow_dns.__file__
DNS_PROBE = Path(__file__).with_name("dns_probe.py").read_text()

Ask = Callable[..., dict[str, Any]]
Run = Callable[..., str]
Share = Callable[..., dict[str, str]]
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
        eventually(lambda: host.check_output(found) == wanted.strip(), f"the rules of {path} in the guest")

    before = as_root("cat", str(path))
    yield lambda **words: put(Egress.parse(**{"allowlist": [], **words}).dump())
    put(before)


@pytest.fixture
def resolve_by(guest_name: str) -> Iterator[Callable[..., None]]:
    """Write the guest's name servers and search domains (see NameResolution.parse); restore the file afterwards."""
    path = Path(f"/var/lib/portchain/{guest_name}/resolution.json")

    def put(text: str) -> None:
        as_root("sh", "-c", 'printf "%s" "$1" >"$2.new" && mv "$2.new" "$2"', "sh", text, str(path))

    before = path.read_text()
    yield lambda servers=(), search=(): put(NameResolution.parse(servers, search).dump())
    put(before)


@pytest.fixture
def resolve_slowly(resolve_by: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """Has names resolved, the given domains searched, by a server on the host's loopback that takes half a second."""
    command = [*([] if os.geteuid() == 0 else ["sudo", "-n"]), sys.executable, SLOW_DNS, SLOW_ADDRESS, "0.5"]
    with subprocess.Popen(command) as process:
        eventually(lambda: connect(53, SLOW_ADDRESS).close() is None, "the name server")
        yield lambda *search: resolve_by([SLOW_ADDRESS], search)
        as_root("kill", str(process.pid))


@pytest.fixture
def ask(ask_all: Callable[..., dict[str, dict[str, Any]]]) -> Ask:
    """Asks the guest's name server, from the guest or a container: NAME, kind, transport; see `ask_all`."""
    return lambda name, *words, **more: ask_all([name], *words, **more)[name]


@pytest.fixture
def ask_all(host: Host) -> Callable[..., dict[str, dict[str, Any]]]:
    """Asks for NAMES, one after the other: what dns_probe.py prints of each."""

    def run(
        names: Sequence[str], kind: int = 1, transport: str = "udp", container: Container | None = None
    ) -> dict[str, dict[str, Any]]:
        command = ["python3", "-c", DNS_PROBE, str(kind), transport, *names]
        if container:
            status, output = container.exec_run(command)
            assert status == 0, output.decode()
        else:
            output = host.check_output(shlex.join(command))
        return dict(zip(names, json.loads(output), strict=True))

    return run


@pytest.fixture(scope="module")
def share(guest_name: str, run_dir: Path) -> Iterator[Share]:
    """Has the running guest share other folders, as OWNER's, and returns why some failed; the inventory's come back."""
    path = f"/var/lib/portchain/{guest_name}/shares.json"
    before = as_root("cat", path)

    def put(text: str) -> dict[str, str]:
        as_root("sh", "-c", 'printf "%s" "$1" >"$2.new" && mv "$2.new" "$2"', "sh", text, path)
        done = run_dir / "shares.json"
        eventually(lambda: json.loads(as_root("cat", str(done)))["asked"] == text, "the new shares")
        return dict(json.loads(as_root("cat", str(done)))["failed"])

    yield lambda *words: put(Shares.parse(map(str, words), uid=OWNER, gid=OWNER).dump())
    put(before)


@pytest.fixture
def run(engine: docker.DockerClient, image: str) -> Run:
    """Runs a line of shell in a container that has ``folder`` as /work; returns what it says, in the end its status."""

    def run(folder: Path, line: str, **words: Any) -> str:
        command = ["-c", f"{{ {line}; }} 2>&1; echo $?"]
        said = engine.containers.run(
            image, command, entrypoint=["sh"], volumes=[f"{folder}:/work"], working_dir="/work", remove=True, **words
        )
        return str(said.decode())

    return run
