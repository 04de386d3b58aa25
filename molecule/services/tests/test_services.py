"""The services together: which there are, that each comes back working when it is killed, and what they cost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from testinfra.host import Host

from portchain.http import blocking_client
from support.waiting import eventually

Working = Callable[[str], Callable[[], Any]]
PORTCHAIN = Path(sys.executable).with_name("portchain")
NAMES = (
    *("acpid", "allowlist", "binfmt", "devenv-service", "dhcpcd", "diagnose", "dns-forwarder", "docker"),
    *("http-proxy", "kmsg", "sntpc", "socks", "trim-after-delete", "volume-contents", "vpnkit-forwarder"),
)
BACK = 5.0
SETTLE = 4.0  # seconds after a delete, by when the disk is trimmed
MEMORY = 300 << 20
# The version and the method that may do without a password, in SOCKS 5.
GREET = "import socket; s = socket.create_connection(('127.0.0.1', 1080), 1); s.sendall(b'\\5\\1\\0'); print(s.recv(2))"
CONTAINER = "ctr -n services.linuxkit"
# What services say anew when they work.
LINES = {"kmsg": "", "sntpc": "offset", "trim-after-delete": "ok:"}


def services(guest: str) -> dict[str, dict[str, Any]]:
    """What portchain says of the services of the guest, by name."""
    command = [str(PORTCHAIN), "status", "--json", "--guest", guest]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    (one,) = json.loads(found.stdout)
    return {service["name"]: service for service in one["services"]}


def has_reader(fifo: Path) -> bool:
    """Whether somebody reads from it."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO
        return False
    return True


@pytest.fixture
def working(host: Host, run_dir: Path, ask: Callable[..., dict[str, Any]], engine: docker.DockerClient) -> Working:
    """How to see that a service does its work from now on; it is asked anew each time."""

    def says(command: str, text: str = "") -> Callable[[], bool]:
        def check() -> bool:
            done = host.run(command)
            return done.rc == 0 and text in done.stdout

        return check

    def lines(name: str) -> Callable[[], bool]:
        """It has said something new."""
        count = f"cat /var/log/{name}.log* | grep -c {shlex.quote(LINES[name])}"
        before = int(host.run(count).stdout or 0)
        return lambda: int(host.run(count).stdout or 0) > before

    def answers(name: str, path: str) -> Callable[[], bool]:
        return lambda: isinstance(blocking_client.get_json(str(run_dir / f"{name}.sock"), path, 2), dict | list | str)

    def trims() -> Callable[[], bool]:
        trimmed = lines("trim-after-delete")

        def check() -> bool:
            engine.volumes.create().remove()
            time.sleep(SETTLE)
            return trimmed()

        return check

    asked = {
        "acpid": lambda: has_reader(run_dir / "host-services/acpi.fifo"),
        "allowlist": says("test -s /run/egress/dns-servers"),
        "binfmt": says("cat /proc/sys/fs/binfmt_misc/qemu-aarch64", "enabled"),
        "devenv-service": answers("devenv-service", "/environments"),
        "dhcpcd": says("ip -4 address show eth0", "192.168.65.3/24"),
        "diagnose": says("true"),
        "dns-forwarder": lambda: ask("host.docker.internal")["addresses"] == ["192.168.65.2"],
        "docker": answers("docker", "/version"),
        "http-proxy": says("curl -sx http.docker.internal:3128 -o /dev/null -w '%{http_code}' http://x.invalid/", "50"),
        "socks": says(f"python3 -c {shlex.quote(GREET)}", "x05"),
        "volume-contents": answers("volume-contents", "/volumes"),
        "vpnkit-forwarder": says("true"),
    }
    anew = {name: partial(lines, name) for name in LINES} | {"trim-after-delete": trims}
    return lambda name: anew[name]() if name in anew else asked[name]


def undone(name: str, host: Host) -> None:
    """Take away what the service has made, so that only its work brings it back."""
    made = {
        "allowlist": "rm /run/egress/dns-servers",
        "dhcpcd": "ip address flush dev eth0",
        "binfmt": "echo -1 >/proc/sys/fs/binfmt_misc/qemu-aarch64",
    }
    if name in made:
        host.check_output(made[name])


def test_they_are_the_seeds(host: Host, seed: dict[str, Any]) -> None:
    rows = [line.split() for line in host.check_output(f"{CONTAINER} container ls").splitlines()[1:]]
    assert sorted(row[0] for row in rows) == sorted(NAMES) == sorted(seed["guest"]["services"])
    assert {tuple(row[1:]) for row in rows} == {("-", seed["guest"]["runtime"])}


def test_all_of_them_cost_little(
    guest_name: str, capsys: pytest.CaptureFixture[str], engine: docker.DockerClient
) -> None:
    assert {container.name for container in engine.containers.list()} <= {"probe"}
    command = [str(PORTCHAIN), "status", "--json", "--guest", guest_name]
    (guest,) = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    with capsys.disabled():
        print(f"\nthe idle guest, its engine and its services use {guest['memory'] / (1 << 20):.0f} MiB")
        for one in guest["services"]:
            print(f"  {one['name']:20}{one['memory'] / (1 << 20):8.1f} MiB")
    assert guest["memory"] <= MEMORY


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_service_is_back_and_works(
    name: str, host: Host, guest_name: str, working: Working, capsys: pytest.CaptureFixture[str]
) -> None:
    before = services(guest_name)
    works_again = working(name)
    undone(name, host)
    with contextlib.suppress(RuntimeError):  # the way by which the command came may end with it
        host.run(f"{CONTAINER} task kill -s SIGKILL {name}")
    killed = time.monotonic()
    eventually(
        lambda: works(lambda: again(host, name, before[name]["pid"]) and works_again()),
        f"{name} at work",
        BACK + 3 * SETTLE * (name == "trim-after-delete"),
    )
    with capsys.disabled():
        print(f" {name} was back after {time.monotonic() - killed:.1f} s", end="")
    after = services(guest_name)
    assert after[name]["restarts"] == before[name]["restarts"] + 1
    assert {one for one in NAMES if after[one]["restarts"] != before[one]["restarts"]} == {name}
    assert after[name]["state"] in ("running", "crashing")


def pid_of(host: Host, name: str) -> int:
    """The process that a service is, 0 while it is none."""
    rows = [line.split() for line in host.check_output(f"{CONTAINER} task ls").splitlines()]
    return next((int(row[1]) for row in rows if row[0] == name and row[2] == "RUNNING"), 0)


def again(host: Host, name: str, pid: int) -> bool:
    """Whether it runs, and is no longer the process ``pid``."""
    return pid_of(host, name) not in (0, pid)


def works(check: Callable[[], Any]) -> bool:
    """What it says; the way to it may be gone for a moment."""
    try:
        return bool(check())
    except (OSError, ValueError, AssertionError, RuntimeError):
        return False


def test_one_that_keeps_crashing_is_shown_and_takes_no_other_along(host: Host, guest_name: str) -> None:
    before = services(guest_name)
    for _ in range(4):
        pid = pid_of(host, "socks")
        host.check_output(f"{CONTAINER} task kill -s SIGKILL socks")
        eventually(lambda pid=pid: again(host, "socks", pid), "another process", BACK)
    after = services(guest_name)
    assert after["socks"]["state"] == "crashing"
    assert [one for one in NAMES if after[one]["pid"] != before[one]["pid"]] == ["socks"]
    shown = subprocess.run(
        [str(PORTCHAIN), "status", "--guest", guest_name], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("socks")] == ["crashing"]
