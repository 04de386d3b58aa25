"""Parts killed with -9, in several orders: seconds after the engine's return, the listeners are again the right ones.

Right is what the engine itself says of its containers, asked past the host.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from probing import Guest, answered, as_root, connect, datagram, family, host_port, refused

from support.host_ports import free_ports
from support.waiting import eventually

BACK_WITHIN = 30.0
RIGHT_WITHIN = 3.0
PARTS = 6
IN_CONTAINER = re.compile(r"/docker/([0-9a-f]{64})")
ORDERS = (
    ("forwarder",),
    ("relay",),
    ("vpnkit-forwarder",),
    ("dockerd",),
    ("guest",),
    ("forwarder", "dockerd"),
    ("relay", "forwarder"),
    ("vpnkit-forwarder", "containerd", "forwarder"),
    ("dockerd", "relay", "vpnkit-forwarder"),
    ("dockerd", "vpnkit-forwarder", "forwarder"),
    ("forwarder", "guest"),
)
ENGINE = {"dockerd", "containerd", "guest"}  # with any of them, the engine is another one afterwards


class Fleet:
    """Containers with ports of each kind, and which of the host's ports belong to which."""

    def __init__(self, engine: Any, guest: Guest, image: str) -> None:
        self._guest = guest
        self.engine = engine
        fixed, loopback, stopped, mortal = free_ports(4)
        always = {"restart_policy": {"Name": "unless-stopped"}, "detach": True}
        made = [
            engine.containers.run(image, ports={"7000/tcp": fixed, "7000/udp": fixed}, **always),
            engine.containers.run(image, ports={"7000/tcp": ("127.0.0.1", loopback), "7000/udp": None}, **always),
            engine.containers.run(image, publish_all_ports=True, **always),
            engine.containers.run(image, ports={"7000/tcp": stopped}, **always),
            engine.containers.run(image, ports={"7000/tcp": mortal}, detach=True),
        ]
        made[3].stop(timeout=1)
        self.fixed = fixed
        self.ports: dict[str, set[tuple[str, int]]] = {
            made[0].id: {("tcp", fixed), ("udp", fixed)},
            made[1].id: {("tcp", loopback), ("udp", host_port(made[1], "7000/udp"))},
            made[2].id: {(p, host_port(made[2], f"7000/{p}")) for p in ("tcp", "udp")},
            made[3].id: {("tcp", stopped)},
            made[4].id: {("tcp", mortal)},
        }
        self._made = made

    def remove(self) -> None:
        """Away with it all."""
        for container in self._made:
            container.remove(force=True)

    def start_mortal(self) -> None:
        """Have the container run that does not come back by itself."""
        eventually(lambda: not self._made[-1].start(), "a start of what did not come back", BACK_WITHIN)

    def wanted(self) -> set[tuple[str, int]]:
        """The host's ports of what the engine says is running."""
        running = self._guest.running()
        return set().union(*(ports for one, ports in self.ports.items() if one in running))

    def right(self) -> bool:
        """Whether the host listens at the ports of what runs, and at no other that was ever published.

        Of TCP the sockets themselves are tried, of UDP the daemon is asked.
        """
        wanted, every = self.wanted(), set().union(*self.ports.values())
        rows = [row for row in self._guest.forwards() if row["state"] == "listening"]
        forwards = {(row["protocol"], int(row["listen"].rpartition(":")[2])) for row in rows}
        tcp = {end for end in every if end[0] == "tcp" and not refused(end[1])}
        return wanted == forwards and tcp == {end for end in wanted if end[0] == "tcp"}


@pytest.fixture(scope="module")
def fleet(engine: Any, guest: Guest, image: str) -> Iterator[Fleet]:
    """Containers that are there for all orders."""
    made = Fleet(engine, guest, image)
    yield made
    made.remove()


def parts(guest: Guest) -> dict[str, int]:
    """The pids of all parts, once all are there."""
    return dict(eventually(lambda: (found := guest.pids) and len(found) == PARTS and found, "all parts", BACK_WITHIN))


def kill(pid: int) -> None:
    """Kill a process of the guest or the host."""
    as_root("kill", "-9", str(pid))


def wait_for_the_engine(guest: Guest, before: dict[str, int] | None) -> None:
    """Until it answers, another one than ``before``."""

    def is_back() -> bool:
        return bool(guest.engine_says("/version")) and (not before or engine(guest) not in (None, before["dockerd"]))

    eventually(is_back, "the engine", BACK_WITHIN)


def engine(guest: Guest) -> int | None:
    """The pid of dockerd, whether or not the host's forwarder is there."""
    return next((pid for pid in family(guest.pid) if is_dockerd(pid)), None)


def is_dockerd(pid: int) -> bool:
    """Whether a process is the engine."""
    return Path(f"/proc/{pid}/comm").read_text() == "dockerd\n"


@pytest.mark.parametrize("order", ORDERS, ids=" then ".join)
def test_the_right_listeners_are_back(fleet: Fleet, guest: Guest, order: tuple[str, ...]) -> None:
    before = parts(guest)
    fleet.start_mortal()
    for part in order:
        kill(before[part])
    wait_for_the_engine(guest, before if ENGINE & set(order) else None)
    back = time.monotonic()
    eventually(fleet.right, "exactly the listeners of what runs", RIGHT_WITHIN)
    print(f"\nright {time.monotonic() - back:.1f} s after the engine's return")
    for protocol, port in fleet.wanted():
        if protocol == "tcp":
            answered(port)
        else:
            assert datagram(port, b"hello") == b"hello"
    assert fleet.right()
    assert inhabited(guest) == Counter(guest.running())


def inhabited(guest: Guest) -> Counter[str]:
    """The containers that have processes, by the cgroups of these, and how many: a probe is one."""
    groups = (Path(f"/proc/{pid}/cgroup").read_text() for pid in family(guest.pid))
    return Counter(found[1] for group in groups if (found := IN_CONTAINER.search(group)))


def test_connections_live_through_a_restart_of_the_daemon(fleet: Fleet, guest: Guest) -> None:
    before = parts(guest)
    with connect(fleet.fixed) as client:
        client.sendall(b"echo\nbefore")
        assert client.recv(6) == b"before"
        kill(before["forwarder"])
        client.sendall(b"during")
        assert client.recv(6) == b"during"
        after = parts(guest)
        answered(fleet.fixed)
        client.sendall(b"after")
        assert client.recv(5) == b"after"
    assert after["forwarder"] != before["forwarder"]
    assert after["relay"] == before["relay"]
