"""A guest's gateway, on a machine made up for it: run in network and mount namespaces of its own by test_gateway.py.

Usage: python gateway_stage.py FOLDER, which nobody can read. Prints what the guest's end sees, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from far_server import entered, exchange, far_server, ip, network

from portchain.host.drivers.namespace.network import Gateway
from portchain.host.guest_spec import GuestSpec
from portchain.host.host_access import HostAccess
from portchain.host.name_resolution import NameResolution
from portchain.protocol.names import GUEST_NAMES, HOST_NAMES

FIRST, SECOND, SLOW, NOBODY, SILENT = (f"127.0.0.{number}" for number in range(77, 82))
RESOLVERS = {FIRST: "203.0.113.9", SECOND: "203.0.113.10"}
DEADLINE = 10.0
PATIENCE = 1.0
CROWD = 400
AAAA = 28
# What the commands of the gateway's programs have, and no others.
DNSMASQ = "dnsmasq --keep-in-foreground --conf-file=/dev/null --log-facility"
HOST_RELAY = "portchain.host.drivers.namespace.gateway"
SLOW_DNS = Path(__file__).parents[1] / "bench/slow_dns.py"


def run(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


def furnish(folder: Path) -> None:
    """A machine with a way to the outside, a resolver on its loopback, and names of its own."""
    for name, text in (
        ("resolv.conf", f"nameserver {FIRST}\n"),
        ("hosts", "127.0.0.1 localhost own.test host.docker.internal\n203.0.113.80 slow.test\n"),
    ):
        (folder / name).write_text(text)
        run(f"mount --bind {folder / name} /etc/{name}")
    run("ip link set lo up; ip link add up0 type veth peer name up1; ip link set up1 up; ip link set up0 up")
    run("ip address add 192.0.2.1/24 dev up0; ip route add default via 192.0.2.2")


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def resolver(listen: str) -> Iterator[None]:
    place = (f"--listen-address={listen}", f"--address=/outside.test/{RESOLVERS[listen]}")
    place = (*place, "--address=/#/2001:db8::9")
    options = ("--no-resolv", "--no-hosts", "--pid-file=", "--bind-interfaces", *place)
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", *options]
    with started(command):
        yield


@contextlib.contextmanager
def guest(gateway: Gateway, spec: GuestSpec) -> Iterator[int]:
    """A network namespace with the guest's end; yields a process in it."""
    with network() as pid:
        gateway.connect(pid)
        ip(pid, f"address add {spec.address}/24 dev eth0")
        ip(pid, "link set eth0 up")
        ip(pid, f"route add default via {spec.gateway}")
        yield pid


def question(name: str, number: int = 1, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def framed(message: bytes) -> bytes:
    """A message of DNS as it is sent over TCP."""
    return struct.pack("!H", len(message)) + message


def crowd(server: str, kind: socket.SocketKind) -> str:
    """How many of `CROWD` who ask at once are answered with success; they ask once more, as resolvers do."""

    def one(number: int) -> bool:
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                return dns_exchange(server, question(f"n{number}.test", number), kind, DEADLINE / 2)[3] & 15 == 0
        return False

    with ThreadPoolExecutor(CROWD) as pool:
        return str(sum(pool.map(one, range(CROWD))))


def wait(condition: Callable[[], Any]) -> Any:
    """What ``condition`` returns, once that is true."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{condition}")
        time.sleep(0.02)
    return found


def dns_exchange(server: str, asked: bytes, kind: socket.SocketKind, patience: float) -> bytes:
    """The answer of ``server`` to a message."""
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(patience)
        client.connect((server, 53))
        if kind == socket.SOCK_DGRAM:
            client.send(asked)
            return client.recv(512)
        client.sendall(framed(asked))
        with client.makefile("rb") as answers:
            return answers.read(int.from_bytes(answers.read(2), "big"))


def ask(server: str, name: str, kind: socket.SocketKind, record: int = 1, patience: float = PATIENCE) -> str:
    """The address that ``server`` gives, empty for none."""
    answer = dns_exchange(server, question(name, 1, record), kind, patience)
    return socket.inet_ntoa(answer[-4:]) if int.from_bytes(answer[6:8], "big") else ""


def tried(pid: int, function: Callable[..., str], *arguments: Any) -> str:
    """Call in the network of ``pid``; an error as its name."""
    try:
        return entered(pid, function, *arguments)
    except OSError as error:
        return type(error).__name__


def greet(address: str, port: int) -> str:
    with socket.create_connection((address, port), DEADLINE) as client:
        return client.makefile().readline().strip()


@contextlib.contextmanager
def server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                client, _ = listener.accept()
                client.sendall(b"here\n")
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def echo(address: str, port: int, sizes: list[int]) -> str:
    """Whether datagrams of ``sizes`` bytes come back from where they were sent, one after the other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect((address, port))
        for size in sizes:
            client.send(bytes(size))
            if client.recv(65536) != bytes(size):
                return f"not {size} bytes"
    return "all"


@contextlib.contextmanager
def datagram_server() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, client = sock.recvfrom(65536)
                sock.sendto(data, client)

        threading.Thread(target=serve, daemon=True).start()
        yield sock.getsockname()[1]


def children() -> dict[str, int]:
    """The programs of this process, by their words."""
    pids = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return {Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "): int(pid) for pid in pids}


def kill(word: str) -> None:
    """Kill the program whose command has ``word``."""
    os.kill(next(pid for command, pid in children().items() if word in command), signal.SIGKILL)


def rights(word: str) -> str:
    """The user, capabilities, no_new_privs and root of the program whose command has ``word``."""
    pid = next(pid for command, pid in children().items() if word in command)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    sets = " ".join(f"{int(status[key], 16):x}" for key in ("CapEff", "CapBnd"))
    files = list(Path(f"/proc/{pid}/root").iterdir())
    user, root = status["Uid"].split()[0], "full" if files else "empty"
    return f"uid {user}, capabilities {sets}, no_new_privs {status['NoNewPrivs']}, root {root}"


def look(folder: Path, spec: GuestSpec, gateway: Gateway, pid: int) -> Iterator[tuple[str, str]]:
    """What is seen from the guest's end, each with a name."""
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    wait(lambda: tried(pid, ask, spec.gateway, "host.docker.internal", datagram) == spec.gateway)
    for kind in (stream, datagram):
        for name in ("own.test", "outside.test", "nothing.docker.internal", "localhost", *HOST_NAMES, *GUEST_NAMES):
            yield f"{name} {kind.name}", tried(pid, ask, spec.gateway, name, kind)
        for name in ("own.test", *HOST_NAMES, *GUEST_NAMES):
            yield f"{name} {kind.name} AAAA", tried(pid, ask, spec.gateway, name, kind, AAAA)
    for name, word in (("dnsmasq", DNSMASQ), ("host relay", HOST_RELAY), ("pasta", "pasta")):
        yield f"rights of {name}", rights(word)
    (folder / "hosts").write_text("203.0.113.7 new.test\n")
    gateway.maintain()
    wait(lambda: tried(pid, ask, spec.gateway, "new.test", datagram) == "203.0.113.7")
    yield "own.test after it went", tried(pid, ask, spec.gateway, "own.test", datagram)
    (folder / "resolv.conf").write_text(f"nameserver {SECOND}\n")

    def resolved_anew() -> bool:
        gateway.maintain()
        return tried(pid, ask, spec.gateway, "outside.test", datagram) == RESOLVERS[SECOND]

    wait(resolved_anew)
    yield "another resolver, over TCP", tried(pid, ask, spec.gateway, "outside.test", stream)
    with far_server("up1") as port:
        yield "far away", ", ".join(tried(pid, exchange, port, size) for size in (1, 1, 100_000, 1_000_000))
    for kind in (stream, datagram):
        (folder / "resolv.conf").write_text(f"nameserver {NOBODY}\nnameserver {SILENT}\nnameserver {FIRST}\n")
        name = f"{kind.name}.outside.test"
        yield f"third resolver {kind.name}", tried(pid, ask, spec.gateway, name, kind, 1, DEADLINE)
    spec.resolution_file.write_text(NameResolution.parse([SLOW], []).dump())
    for kind in (stream, datagram):
        yield f"crowd {kind.name}", tried(pid, crowd, spec.gateway, kind)
    spec.resolution_file.write_text(NameResolution.parse([SECOND], []).dump())
    yield "resolver of the guest's own", tried(pid, ask, spec.gateway, "sub.outside.test", datagram)
    spec.resolution_file.unlink()
    with server() as port:
        yield "allowed", tried(pid, greet, spec.gateway, port)
        with datagram_server() as echoing:
            sizes = [1, 0, 1472, 1473, 9000, 65507]
            yield "datagrams", tried(pid, echo, spec.gateway, echoing, sizes)
            yield "datagrams to nobody", tried(pid, echo, spec.gateway, port, [1])
        yield "the gateway's other address", tried(pid, greet, "192.168.66.2", port)
        for word in (DNSMASQ, HOST_RELAY):
            kill(word)
        time.sleep(1.1)
        gateway.maintain()
        wait(lambda: tried(pid, ask, spec.gateway, "new.test", datagram) == "203.0.113.7")
        yield "after both were killed", tried(pid, greet, spec.gateway, port)
        spec.host_access_file.write_text(HostAccess.parse([f"1-{port - 1}"]).dump())
        yield "not allowed", tried(pid, greet, spec.gateway, port)
        with datagram_server() as echoing:
            spec.host_access_file.write_text(HostAccess.parse([str(echoing)]).dump())
            yield "allowed datagram", tried(pid, echo, spec.gateway, echoing, [1])
            spec.host_access_file.write_text(HostAccess.parse([]).dump())
            yield "datagram not allowed", tried(pid, echo, spec.gateway, echoing, [1])


def main() -> None:
    folder = Path(sys.argv[1])
    furnish(folder)
    numbers = {"uid_base": 1 << 20, "uid_count": 1 << 16, "memory": 0, "cpus": 1.0, "pids": 1, "disk_size": 0}
    paths = {"root": "", "bundles": "", "source": "", "disk": str(folder / "data.img"), "run_dir": str(folder)}
    spec = GuestSpec(name="stage", hostname="stage", subnet="192.168.65.0/24", images={}, **numbers, **paths)
    spec.host_access_file.write_text(HostAccess.parse(["1-65535"]).dump())
    gateway = Gateway(spec)
    with contextlib.ExitStack() as stack:
        for address in RESOLVERS:
            stack.enter_context(resolver(address))
        stack.enter_context(started([sys.executable, str(SLOW_DNS), SLOW, "0.5"]))
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind((SILENT, 53))
        gateway.serve()
        with guest(gateway, spec) as pid:
            found = dict(look(folder, spec, gateway, pid))
        gateway.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
