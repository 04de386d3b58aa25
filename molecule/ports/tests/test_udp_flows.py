"""A UDP client that goes on sending from one socket gets answers again, whatever is started anew behind its port."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from probing import Guest, as_root, datagram

from portchain.http import blocking_client
from support.host_ports import free_port
from support.waiting import eventually

BACK_WITHIN = 60.0
PAUSE = 0.01


class Talker:
    """Sends from one socket, from now on to the end, and knows when it was answered last."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect((address, port))
        self._sock.setblocking(False)
        self.answered = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError):
                self._sock.send(b"hello")
            with contextlib.suppress(OSError):
                if select.select([self._sock], [], [], PAUSE)[0] and self._sock.recv(100):
                    self.answered = time.monotonic()
            time.sleep(PAUSE)

    def close(self) -> None:
        """Say no more."""
        self._stopped.set()
        self._thread.join()
        self._sock.close()

    def hears(self, within: float = BACK_WITHIN) -> None:
        """Wait for an answer to what is sent from now on."""
        since = time.monotonic() + 10 * PAUSE
        eventually(lambda: self.answered > since, "an answer to the client that goes on sending", within)


Probe = Callable[..., Any]
Restart = Callable[[Any, Guest], None]


def stop_and_start(container: Any, _guest: Guest) -> None:
    container.stop(timeout=1)
    container.start()


def kill_its_process(container: Any, guest: Guest) -> None:
    """Its restart policy brings it back."""
    before = container.attrs["State"]["StartedAt"]
    pid = guest.engine_says(f"/containers/{container.id}/json")["State"]["Pid"]
    as_root("nsenter", "-t", str(guest.pid), "-p", "-m", "kill", "-9", str(pid))

    def started() -> bool:
        container.reload()
        return bool(container.attrs["State"]["StartedAt"] != before)

    eventually(started, "the container, brought back")


def leave_and_join_its_network(container: Any, _guest: Guest) -> None:
    network = container.client.networks.get("bridge")
    network.disconnect(container)
    network.connect(container)


def restart_the_engine(_container: Any, guest: Guest) -> None:
    lifecycle = str(guest.run_dir / "lifecycle-server.sock")
    assert blocking_client.request(lifecycle, "POST", "/engine/restart", 60)[0] == 200


def kill(part: str) -> Restart:
    def restart(container: Any, guest: Guest) -> None:
        before = guest.pids[part]
        as_root("kill", "-9", str(before))
        eventually(lambda: guest.pids.get(part, before) != before, f"another {part}", BACK_WITHIN)
        eventually(container.client.ping, "the engine", BACK_WITHIN)

    return restart


def remove_and_create(container: Any, _guest: Guest) -> None:
    """As compose does where a service changed: another container takes the port."""
    ports, image = container.attrs["HostConfig"]["PortBindings"], container.attrs["Config"]["Image"]
    place = ports["7000/udp"][0]
    container.remove(force=True)
    container.client.containers.run(image, detach=True, ports={"7000/udp": (place["HostIp"], int(place["HostPort"]))})


WAYS: dict[str, Restart] = {
    "docker restart": lambda container, _guest: container.restart(timeout=1),
    "stop and start": stop_and_start,
    "restart policy": kill_its_process,
    "another container": remove_and_create,
    "network": leave_and_join_its_network,
    "engine": restart_the_engine,
    "dockerd killed": kill("dockerd"),
    "relay killed": kill("relay"),
    "vpnkit-forwarder killed": kill("vpnkit-forwarder"),
    "guest killed": kill("guest"),
}


@pytest.fixture
def client() -> Iterator[Callable[..., Talker]]:
    """Make clients that end with the test."""
    made: list[Talker] = []

    def make(port: int, address: str = "127.0.0.1") -> Talker:
        made.append(Talker(port, address))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_goes_on_sending_is_answered_again(
    guest: Guest, probe: Probe, client: Callable[..., Talker], way: str
) -> None:
    port, by_hand = free_port(), free_port()
    container = probe(ports={"7000/udp": port}, restart_policy={"Name": "unless-stopped"})
    guest.expose(f"127.0.0.1:{by_hand}", f"127.0.0.1:{port}", "udp")
    try:
        datagram(port, b"hello")
        # A port that is listened on all the while, as those of the inventory are, beside the container's own.
        talkers = [client(port), client(port, "::1"), client(by_hand)]
        for talker in talkers:
            talker.hears()
        WAYS[way](container, guest)
        eventually(lambda: datagram(port, b"hello"), "an answer to a new client", BACK_WITHIN)
        for talker in talkers:
            talker.hears(5)
    finally:
        guest.unexpose(f"127.0.0.1:{by_hand}", "udp")
