"""Each fault of the host's side, of the relay and of its channel into the guest, made for real as in test_faults."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from probing import Guest, answered, as_root, connect, read_all
from testinfra.host import Host

from support.host_ports import free_port
from support.waiting import eventually

Served = Callable[..., tuple[Any, int]]
Trace = Callable[..., dict[str, Any]]
Mended = Callable[[int | str], None]

# An address kept for documentation, so that no machine has it: as one of an interface that is gone.
GONE = "192.0.2.1"
# The relay but for one target, which it does not understand. It ends with its standard input.
REFUSING = """
import os, sys, threading
sys.path.insert(0, "/usr/local/lib/portchain")
from portchain.host.relay.__main__ import main
from portchain.net.accepting import Acceptor

refused = sys.argv.pop(1)

def listen(self, message, descriptor, served=Acceptor.listen):
    if message.target == refused:
        os.close(descriptor)
        raise ValueError(f"{message.target}: not understood")
    served(self, message, descriptor)

Acceptor.listen = listen
threading.Thread(target=lambda: os._exit(len(sys.stdin.read())), daemon=True).start()
main()
"""
INVENTORY = Path(__file__).parents[1] / "inventory"
UP_SECONDS = 300


@contextmanager
def down(guest: Guest, daemon: str) -> Iterator[None]:
    """One of the guest's daemons on the host, down for a while."""
    folder = str(guest.run_dir / "sv" / daemon)
    as_root("sv", "-w", "20", "down", folder)
    try:
        yield
    finally:
        as_root("sv", "up", folder)


@contextmanager
def hidden(path: Path) -> Iterator[None]:
    """A socket of the host's, out of the way of those who connect to it; connections that there are live on."""
    aside = path.with_suffix(".aside")
    as_root("mv", str(path), str(aside))
    try:
        yield
    finally:
        as_root("mv", str(aside), str(path))


def channel(guest: Guest) -> int:
    """The pid of what is at the guest's end of the channel, 0 for nothing."""
    found = json.loads(guest.control("GET", "/status")[1])["channel"]
    return int(found["pid"]) if found else 0


def relay(guest: Guest) -> int:
    """The relay's pid, 0 while it is away."""
    return int(json.loads(guest.control("GET", "/status")[1])["relay_pid"])


def killed_relay(guest: Guest) -> None:
    """End the relay, and with it all connections into the guest; wait until it is there again, with the guest."""
    before = relay(guest)
    as_root("kill", "-KILL", str(before))
    eventually(lambda: relay(guest) not in (0, before) and channel(guest), "another relay, and its channel")


@contextmanager
def refusing(guest: Guest, target: str) -> Iterator[None]:
    """What refuses a target, in the place of the guest's relay, which meanwhile is down."""
    options = Path(f"/proc/{relay(guest)}/cmdline").read_text().split("\0")[3:-1]
    command = [*([] if os.geteuid() == 0 else ["sudo", "-n"]), "/usr/bin/python3", "-c", REFUSING, target, *options]
    with down(guest, "relay"), subprocess.Popen(command, stdin=subprocess.PIPE):
        eventually(lambda: channel(guest), "the channel to another relay")
        yield
    eventually(lambda: channel(guest), "the relay and its channel")


def test_host_port_held_by_another_process(engine: Any, probe: Any, image: str, trace: Trace, mended: Mended) -> None:
    port = free_port()
    container = engine.containers.create(image, ports={"7000/tcp": port}, name="late")
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(docker.errors.APIError):
            container.start()
        found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("host-port-taken", "host-socket")
    assert f"(pid {os.getpid()})" in found["text"]
    container.start()
    mended(port)


def test_policy_refusal(engine: Any, probe: Any, image: str, trace: Trace) -> None:
    container = engine.containers.create(image, ports={"7000/tcp": 81}, name="low")
    with pytest.raises(docker.errors.APIError, match="policy"):
        container.start()
    found = trace(81)["verdict"]
    assert found["code"] == "policy-refused"
    assert "host_forwarder_bind allows *:1024-65535" in found["text"]
    assert "host_forwarder_bind" in found["remedy"]


def test_forwarder_down(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    _, port = served(restart_policy={"Name": "always"})
    with down(guest, "forwarder"):
        found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("forwarder-down", "forward")
    assert found["remedy"] == f"portchain up --guest {guest.run_dir.name}"
    mended(port)


def test_guest_down(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    _, port = served(restart_policy={"Name": "always"})
    with down(guest, "guest"):
        found = trace(port)["verdict"]
    assert found["code"] == "guest-down"
    assert f"guest {guest.run_dir.name} is " in found["text"]
    mended(port)


def test_host_port_taken_while_the_forwarder_was_away(
    served: Served, guest: Guest, trace: Trace, mended: Mended
) -> None:
    _, port = served()
    with down(guest, "forwarder"):
        server = eventually(lambda: socket.create_server(("127.0.0.1", port)), "the guest to let go of the port")
    with server:
        eventually(lambda: [one for one in guest.forwards() if one["state"] == "failed"], "the forwarder's try")
        found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("host-port-taken", "host-socket")
    assert f"(pid {os.getpid()})" in found["text"]
    mended(port)


@contextmanager
def moved(guest: Guest, place: str, to: str) -> Iterator[None]:
    """A forward made by hand, whose address has become another while the forwarder was away."""
    kept = f"/var/lib/portchain/{guest.run_dir.name}/forwards.json"
    with down(guest, "forwarder"):
        as_root("sed", "-i", f"s/{place}/{to}/", kept)
    try:
        eventually(lambda: channel(guest), "the forwarder and its channel")
        yield
    finally:
        with down(guest, "forwarder"):
            as_root("sed", "-i", f"s/{to}/{place}/", kept)
        eventually(lambda: channel(guest), "the forwarder and its channel")


def test_host_port_refused(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    """The forward has an address that the host had, as far as the forwarder knows, and has no more."""
    _, inside = served()
    port = free_port()
    place, gone = f"127.0.0.1:{port}", f"{GONE}:{port}"
    guest.expose(place, f"127.0.0.1:{inside}")
    with moved(guest, place, gone):
        found = trace(port)["verdict"]
    mended(port)
    guest.unexpose(place)
    assert (found["code"], found["hop"]) == ("host-port-refused", "host-socket")
    assert f"{gone}: bind: cannot assign requested address" in found["text"]


def test_other_address(probe: Any, trace: Trace, mended: Mended) -> None:
    port = free_port()
    probe(ports={"7000/tcp": ("127.0.0.1", port)})
    found = trace(f"127.0.0.2:{port}")["verdict"]
    assert (found["code"], found["hop"]) == ("other-address", "host-socket")
    assert f"127.0.0.1:{port}, not on 127.0.0.2" in found["text"]
    mended(f"127.0.0.1:{port}")


def test_relay_down(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    """Clients wait meanwhile, and are served once what the verdict says is done."""
    _, port = served()
    as_root("sv", "-w", "20", "down", str(guest.run_dir / "sv" / "relay"))
    with connect(port) as waiting:
        waiting.sendall(b"echo\nhello")
        waiting.shutdown(socket.SHUT_WR)
        found = [trace(port), trace(port, "--probe"), trace(free_port())]
        command = shlex.split(found[0]["verdict"]["remedy"].rpartition(": ")[2])
        environment = {**os.environ, "ANSIBLE_INVENTORY": str(INVENTORY)}
        subprocess.run(command, env=environment, capture_output=True, timeout=UP_SECONDS, check=True)
        assert read_all(waiting) == b"hello"
    for one in found:
        assert (one["verdict"]["code"], one["verdict"]["hop"]) == ("relay-down", "forward")
        assert f"the relay of guest {guest.run_dir.name} is not connected" in one["verdict"]["text"]
    mended(port)


def test_channel_down(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    _, port = served()
    with hidden(guest.run_dir / "host-services" / "forwarder.sock"):
        as_root("kill", "-KILL", str(channel(guest)))
        eventually(lambda: not channel(guest), "the end of the channel")
        found = [trace(port), trace(port, "--probe"), trace(free_port())]
    for one in found:
        assert (one["verdict"]["code"], one["verdict"]["hop"]) == ("channel-down", "forward")
        assert f"vpnkit-forwarder of guest {guest.run_dir.name} is not connected to the relay" in one["verdict"]["text"]
    mended(port)
    answered(port)


def test_forward_refused(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    _, port = served()
    target = f"tcp:{trace(port)['chains'][0]['target']}"
    with refusing(guest, target):
        found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("forward-refused", "forward")
    assert f"{target}: not understood" in found["text"]
    mended(port)
    answered(port)


def test_forward_missing(served: Served, guest: Guest, host: Host, trace: Trace, mended: Mended) -> None:
    """A container started past the host, while the forwarder does not hear of the engine."""
    container, port = served(name="unheard")
    container.stop(timeout=0)
    with hidden(guest.run_dir / "engine.sock"):
        killed_relay(guest)
        url = f"http://engine/containers/{container.id}/start"
        host.check_output(f"curl -sf --unix-socket /run/guest-services/docker.sock -X POST {url}")
        found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("forward-missing", "forward")
    assert f"container unheard publishes *:{port}, and the forwarder does not know of it" in found["text"]
    mended(port)
    answered(port)
