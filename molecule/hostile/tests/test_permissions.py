"""What guest root does to what it sees of the host's sockets opens none of them to other users of the host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from probing import Guest, as_root
from testinfra.host import Host

RUN = Path("/run/portchain/hostile")
OTHER_USER = "54321"
CONNECT = """
import os, socket, stat, sys

def reach(path):
    if stat.S_ISFIFO(os.stat(path).st_mode):
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except ConnectionError:
        pass
    except OSError as error:
        if error.errno != 91:  # EPROTOTYPE: the socket may be reached, but has packets
            raise

for path in sys.argv[1:]:
    try:
        reach(path)
        print(path)
    except OSError:
        pass
"""


def sockets() -> list[str]:
    """Every socket and pipe of the guest on the host."""
    return [str(path) for path in RUN.rglob("*") if (path.is_socket() or path.is_fifo()) and "sv" not in path.parts]


def reached(user: str) -> list[str]:
    """Those that a user of the host can connect to or read."""
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    command = [*as_user, "/usr/bin/python3", "-c", CONNECT, *sockets()]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()


@pytest.fixture
def opened(guest_root: Host) -> None:
    """Guest root has changed the modes and owners of all that it sees of the host, as far as it can."""
    for command in ("mount -o remount,bind,rw {0}", "chown -R 0:0 {0}", "chmod -R 777 {0}", "chmod 666 {0}/*.sock"):
        for path in ("/run/host-services", "/run/shares", "/etc/portchain"):
            guest_root.run(f"sh -c '{command.format(path)}'")


@pytest.mark.usefixtures("opened")
def test_no_other_user_of_the_host_reaches_a_socket() -> None:
    assert {"docker.sock", "forwarder.sock", "acpi.fifo"} <= {Path(path).name for path in sockets()}
    assert sorted(reached("0")) == sorted(sockets()), "root reaches all"
    assert reached(OTHER_USER) == []


@pytest.mark.usefixtures("opened")
def test_guest_root_changes_no_mode_on_the_host() -> None:
    folder = RUN / "host-services"
    assert folder.stat().st_mode & 0o777 == 0o750
    assert (folder / "docker.sock").stat().st_mode & 0o777 == 0o600
    assert (folder.stat().st_uid, folder.stat().st_gid) == (0, 13_000_000)


def test_the_process_that_holds_the_guest_has_nothing_open_of_the_hosts(attacker: Guest) -> None:
    parent = Path(f"/proc/{attacker.pid}/stat").read_text().rpartition(")")[2].split()[1]
    listing = as_root("ls", "-l", f"/proc/{parent}/fd").splitlines()[1:]
    assert {line.partition(" -> ")[2].partition(":")[0] for line in listing} <= {"pipe", "/dev/null"}
    assert len(listing) == 3


def test_the_guest_uses_its_sockets_all_the_same(guest_root: Host) -> None:
    request = b"GET /_ping HTTP/1.0\r\n\r\n"
    connect = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/host-services/docker.sock')"
    assert "200 OK" in guest_root.check_output("python3 -c %s", f"{connect}; s.send({request!r}); print(s.recv(99))")
