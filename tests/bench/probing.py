"""Talking to the probe, a server in a container whose clients say how they want to be treated: see its own usage."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from portchain.http import blocking_client
from support.waiting import eventually

Run = Callable[..., "subprocess.CompletedProcess[str]"]

DEADLINE = 10.0
# Networks that the engine makes anew when it starts.
PREDEFINED = ("bridge", "host", "none")
# Words by which the parts of a guest are known among its processes.
SIGNS = {
    "vpnkit-forwarder": {"/usr/bin/python3", "/usr/bin/vpnkit-forwarder"},
    "dockerd": {"/usr/local/bin/dockerd", "--pidfile"},
    "containerd": {"/usr/bin/containerd", "/var/run/desktop-containerd/containerd.sock"},
}
PORT = "7000/tcp"
UDP_PORT = "7000/udp"
UDP_MOST = 65507  # bytes in one datagram over IPv4


def connect(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A TCP client."""
    return socket.create_connection((address, port), timeout=DEADLINE)


def read_all(client: socket.socket) -> bytes:
    """All that comes until the end of stream."""
    found = bytearray()
    while data := client.recv(65536):
        found += data
    return bytes(found)


def ask(port: int, request: bytes = b"page\n", address: str = "127.0.0.1") -> bytes:
    """What the probe replies to ``request`` and the end of stream after it."""
    with connect(port, address) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a probe replies; False where it is refused or reset."""
    try:
        return ask(port, b"echo\nhello", address) == b"hello"
    except ConnectionError:
        return False


def answered(port: int, address: str = "127.0.0.1", deadline: float = DEADLINE) -> None:
    """Wait until a probe replies: the port is there at once, the server behind it needs a moment to start."""
    eventually(lambda: answers(port, address), f"an answer at {address}:{port}", deadline)


def datagram(port: int, data: bytes, address: str = "127.0.0.1", tries: int = 20) -> bytes:
    """The reply to a datagram, sent again while the server may still be starting; raises TimeoutError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.settimeout(DEADLINE / tries)
        for _ in range(tries):
            try:
                client.send(data)
                return client.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.05)
    raise TimeoutError(f"no reply from udp {address}:{port}")


def refused(port: int, address: str = "127.0.0.1") -> bool:
    """Whether nothing listens there."""
    try:
        connect(port, address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # accepted, but nobody listens behind it
        return False
    return False


def listeners() -> set[tuple[str, str]]:
    """What the machine listens on, as its kernel says: protocol and ``address:port``.

    Left out is what is known to be another program's.
    """
    rows = (line.split(maxsplit=6) for line in as_root("ss", "-Hlntup").splitlines())
    return {
        (row[0], row[4]) for row in rows if not row[6:] or any(map(_may_be_a_guests, re.findall(r"pid=(\d+)", row[6])))
    }


def _may_be_a_guests(pid: str) -> bool:
    """Whether a process serves a guest, or is in one."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"/portchain/" in command or not Path(f"/proc/{pid}/ns/pid").samefile("/proc/self/ns/pid")
    except OSError:
        return True


def host_port(container: Container, key: str = PORT) -> int:
    """The port of the host that is shown for a container's port."""
    container.reload()
    return int(container.ports[key][0]["HostPort"])


def as_root(*command: str) -> str:
    """What a command prints that needs root; raises CalledProcessError."""
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=DEADLINE, check=True)
    return done.stdout


@dataclass(frozen=True)
class Use:
    """What a process takes: resident memory in KiB, and descriptors."""

    memory: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """Read it from /proc; as root, for the guest's processes are another user's."""
        status = Path(f"/proc/{pid}/status").read_text()
        memory = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return cls(int(memory), len(as_root("ls", f"/proc/{pid}/fd").split()))


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


class Guest:
    """A guest's ends on the host."""

    def __init__(self, name: str) -> None:
        self.run_dir = Path("/run/portchain") / name

    def control(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request to the control interface: status and body."""
        return blocking_client.request(str(self.run_dir / "control.sock"), method, path, DEADLINE, body)

    def forwards(self, origin: str = "container") -> list[dict[str, Any]]:
        """The forwards of an origin, as the daemon has them."""
        return [row for row in json.loads(self.control("GET", "/forwards")[1]) if row["origin"] == origin]

    def expose(self, local: str, remote: str, protocol: str = "tcp") -> None:
        """Add a forward by hand."""
        request = {"local": local, "remote": remote, "protocol": protocol}
        status, said = self.control("POST", "/services/forwarder/expose", request)
        assert status == 200, said

    def unexpose(self, local: str, protocol: str = "tcp") -> None:
        """Remove a forward that was added by hand."""
        status, said = self.control("POST", "/services/forwarder/unexpose", {"local": local, "protocol": protocol})
        assert status == 200, said

    @property
    def pid(self) -> int:
        """The guest's PID 1 on the host."""
        return int(json.loads((self.run_dir / "state.json").read_text())["pid"])

    @property
    def pids(self) -> dict[str, int]:
        """The parts that are running: forwarder, relay, vpnkit-forwarder, engine, its containerd, guest.

        Raises OSError.
        """
        status = json.loads(self.control("GET", "/status")[1])
        found = {"guest": self.pid, "forwarder": status["pid"]}
        if status["relay_pid"]:
            found["relay"] = status["relay_pid"]
        for pid in family(self.pid):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            part = next((name for name, sign in SIGNS.items() if sign <= set(words)), None)
            if part:
                found[part] = pid
        return found

    def engine_says(self, path: str) -> Any:
        """The engine's own answer at its socket in the guest, past all that the host has to do with it."""
        return self._ask_engine(path)[0]

    def running(self) -> set[str]:
        """The ids of the containers that run, by their inspections: the engine's list is late after a stop."""
        paths = [f"/containers/{row['Id']}/json" for row in self.engine_says("/containers/json")]
        inspected = self._ask_engine(*paths) if paths else []
        return {row["Id"] for row in inspected if "Id" in row and row["State"]["Running"]}

    def _ask_engine(self, *paths: str) -> list[Any]:
        sock = f"/proc/{self.pid}/root/run/guest-services/docker.sock"
        script = (
            "import sys; from portchain.http.blocking_client import request; "
            "[print(request(sys.argv[1], 'GET', path, 10)[1].decode().strip()) for path in sys.argv[2:]]"
        )
        try:
            said = as_root(sys.executable, "-c", script, sock, *paths)
            return [json.loads(line) for line in said.removesuffix("\n").split("\n")]
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise OSError(f"{', '.join(paths)}: {error}: {error.stderr!r}") from None

    def use(self) -> dict[str, Use]:
        """What forwarder, relay and vpnkit-forwarder take."""
        pids = self.pids
        return {name: Use.of(pids[name]) for name in ("forwarder", "relay", "vpnkit-forwarder")}


@contextmanager
def cleaned(engine: docker.DockerClient) -> Iterator[None]:
    """Containers, networks and volumes that are made meanwhile are removed at the end."""
    before = {c.id for c in engine.containers.list(all=True)}, {n.id for n in engine.networks.list()}
    try:
        yield
    finally:
        for container in engine.containers.list(all=True, ignore_removed=True):
            if container.id not in before[0]:
                remove(container)
        for network in engine.networks.list():
            if network.id not in before[1] and network.name not in PREDEFINED:
                network.remove()


def remove(container: Container) -> None:
    """Remove a container, whatever it does and whether or not it is still there."""
    try:
        container.remove(force=True, v=True)
    except (docker.errors.NotFound, docker.errors.APIError) as error:
        if error.status_code not in (404, 409):
            raise
