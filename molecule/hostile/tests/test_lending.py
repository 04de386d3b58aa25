"""A guest's root that has taken the channel to the relay holds up no other guest, and has the host listen nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from conftest import PORTS
from probing import DEADLINE, Guest, Use, answers, as_root, ask, connect, listeners

from support.waiting import eventually

Waits = Callable[..., AbstractContextManager[None]]

SCRIPT = Path(__file__).with_name("lender.py").read_text()
START = 60.0  # seconds
SECONDS = 4.0  # of an attack, while clients come
BACK = 6.0  # seconds until the guest is served again by its own service
PORT = PORTS["the same guest"]
NOWHERE = 17010  # leads to an address of the guest's network where nobody answers
MEMORY = 96 * 1024  # KiB that the relay may have grown by, its pipes and buffers included
DESCRIPTORS = 2000  # that wait to be closed, and those of clients
HOST_UIDS = range(13_000_000, 13_999_999)  # of the guest's users

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="guest's root is played by the host's"),
    pytest.mark.timeout(120),
]


class Attack:
    """An attack that goes on in the guest, whose own service is stopped meanwhile."""

    def __init__(self, guest: Guest, name: str) -> None:
        self._service = str(eventually(lambda: guest.pids["vpnkit-forwarder"], "the guest's processes"))
        as_root("kill", "-STOP", self._service)
        state = json.loads((guest.run_dir / "state.json").read_text())
        inside = ["nsenter", f"--target={state['pid']}", "--all", "--", "python3", "-c", SCRIPT, name]

        join = "".join(f"echo 0 > {shlex.quote(group)}/cgroup.procs; " for group in state["cgroups"])
        command, pipe = ["sh", "-c", f"{join} exec {shlex.join(inside)}"], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], START)[0] or self._process.stdout.readline() != "ready\n":
            self.end()
            raise AssertionError("the attack did not begin")

    def resume_service(self) -> None:
        """Let the guest's own service go on."""
        as_root("kill", "-CONT", self._service)

    def end(self) -> dict[str, Any]:
        """End it, and return what it has seen."""
        try:
            seen, _ = self._process.communicate(timeout=DEADLINE)
        finally:
            self._process.kill()
            self.resume_service()
        return dict(json.loads(seen or "{}"))


@pytest.fixture
def attack(attacker: Guest) -> Iterator[Callable[[str], Attack]]:
    """Begin an attack; it ends with the test, and the guest is served again soon after."""
    attacks: list[Attack] = []

    def begin(name: str) -> Attack:
        attacks.append(Attack(attacker, name))
        return attacks[-1]

    yield begin
    for each in attacks:
        with contextlib.suppress(ValueError):  # it has been ended
            each.end()
    eventually(lambda: answers(PORT), "the guest to be served again", BACK)


@pytest.fixture
def nowhere(attacker: Guest) -> Iterator[None]:
    """A port that leads to where nobody answers."""
    attacker.expose(f"127.0.0.1:{NOWHERE}", "192.0.2.2:9")
    yield
    attacker.unexpose(f"127.0.0.1:{NOWHERE}")


@contextlib.contextmanager
def clients(*ports: int) -> Iterator[None]:
    """Clients that come again and again, and send and receive much, whatever becomes of them."""
    ended = threading.Event()

    def come(port: int) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as client:
                client.sendall(b"echo\n" + bytes(200_000))
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 20):
                    pass
            ended.wait(0.02)

    coming = [threading.Thread(target=come, args=(port,)) for port in ports * 2]
    for thread in coming:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in coming:
            thread.join()


def relay_pid(guest: Guest) -> int:
    """The pid of the guest's relay."""
    return int(json.loads(guest.control("GET", "/status")[1])["relay_pid"])


def cpu_seconds(pid: int) -> float:
    """What a process has used of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    "name",
    [
        *("keep", "listen", "many", "block", "block-and-read", "linger", "elsewhere", "read", "shut", "disconnect"),
        *("errors", "silent", "lock"),
    ],
)
def test_nothing_that_is_lent_holds_up_another_guest(
    attacker: Guest, attack: Callable[[str], Attack], nobody_waits: Waits, name: str
) -> None:
    pid, published = relay_pid(attacker), listeners()
    before = Use.of(pid)
    running = attack(name)
    with nobody_waits("another guest"), clients(PORT, NOWHERE):
        time.sleep(SECONDS)
        assert listeners() == published
    use = Use.of(pid)
    seen = running.end()
    assert seen.get("sent") or seen.get("lend") or seen["want"], "the attacker had the channel"
    assert (use.memory - before.memory, use.descriptors - before.descriptors) < (MEMORY, DESCRIPTORS)
    eventually(lambda: answers(PORT), "the guest to be served again", BACK)
    assert relay_pid(attacker) == pid
    with nobody_waits():
        time.sleep(1)


def test_nothing_of_the_hosts_is_sent_to_the_guest(attacker: Guest, attack: Callable[[str], Attack]) -> None:
    docker = str(attacker.run_dir / "docker.sock")
    running = attack("keep")
    with clients(PORT), socket.socket(socket.AF_UNIX) as client:
        client.connect(docker)
        client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        time.sleep(2)
        assert ask(PORT, b"echo\nhello") == b"hello", "what is lent is used"
    seen = running.end()
    assert min(seen["hello"], seen["want"], seen["open"]) > 0
    assert seen["control"] == 0


def test_whatever_is_no_socket_of_the_kind_that_was_asked_for_ends_the_channel(
    attacker: Guest, attack: Callable[[str], Attack], nobody_waits: Waits
) -> None:
    pid = relay_pid(attacker)
    before = Use.of(pid)
    with nobody_waits("another guest"):
        seen = attack("odd").end()
    assert not [name for name in seen if name.startswith("not closed")]
    assert seen["closed"] >= 50
    assert relay_pid(attacker) == pid
    eventually(lambda: Use.of(pid).descriptors <= before.descriptors + 200, "descriptors to be closed")


def test_files_that_never_close_leave_the_guest_served(attacker: Guest, attack: Callable[[str], Attack]) -> None:
    pid = relay_pid(attacker)
    attack("silent-once").resume_service()
    eventually(lambda: answers(PORT), "the guest to be served again", BACK)
    assert relay_pid(attacker) == pid


@pytest.mark.parametrize("name", ["read", "shut", "disconnect", "errors", "block", "listen"])
def test_no_socket_wakes_the_relay_for_ever(attacker: Guest, attack: Callable[[str], Attack], name: str) -> None:
    pid = relay_pid(attacker)
    attack(name)
    with connect(PORT) as client:
        client.sendall(b"echo\n" + bytes(100_000))
        time.sleep(1)
        used = cpu_seconds(pid)
        time.sleep(2)
        assert cpu_seconds(pid) - used < 0.5


def test_connections_into_a_network_that_is_gone_end(attacker: Guest, attack: Callable[[str], Attack]) -> None:
    with connect(PORT) as client:
        client.sendall(b"echo\nhello")
        assert client.recv(5, socket.MSG_WAITALL) == b"hello"
        attack("network")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_the_relay_has_no_rights_and_nothing_but_sockets(attacker: Guest) -> None:
    pid = relay_pid(attacker)
    threads = as_root("ls", f"/proc/{pid}/task").split()
    for thread in threads:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
        )
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} - {status["CapBnd"]} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()) == ("1", "2", "")
        (uid,) = set(status["Uid"].split())
        assert uid == str(HOST_UIDS.stop)
        assert int(uid) not in HOST_UIDS
    assert as_root("ls", "-A", f"/proc/{pid}/root/") == ""
    assert as_root("readlink", f"/proc/{pid}/root").endswith("(deleted)\n")
    links = [line.partition(" -> ")[2] for line in as_root("ls", "-l", f"/proc/{pid}/fd").splitlines()[1:]]
    assert {link.partition(":")[0] for link in links} <= {"socket", "pipe", "anon_inode", "/dev/null"}
    owners = as_root("find", "/proc", "-maxdepth", "1", "-uid", uid, "-name", "[0-9]*").split()
    assert owners in ([f"/proc/{pid}"], [])
