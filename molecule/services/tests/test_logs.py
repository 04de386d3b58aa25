"""What the services print: in one place, with times, bounded, and there after a restart."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from support.waiting import eventually

PORTCHAIN = str(Path(sys.executable).with_name("portchain"))
LIMIT = 4 * 500_000


@pytest.fixture
def logs(guest_name: str) -> Callable[..., Any]:
    """Runs portchain logs."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [PORTCHAIN, "logs", "--guest", guest_name, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    return run


@pytest.fixture
def followed(guest_name: str) -> Iterator[subprocess.Popen[str]]:
    """portchain logs -f of acpid."""
    command = ["timeout", "60", PORTCHAIN, "logs", "--guest", guest_name, "--tail", "0", "-f", "acpid"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def say(host: Host, name: str, count: int, text: str = "line") -> None:
    """Have the service print ``count`` lines, as its shim hears them."""
    host.check_output(f"sh -c 'seq -f \"{text} %.0f\" {count} >/run/logs/{name}'")


def test_lines_have_their_times_and_their_service(logs: Callable[..., Any]) -> None:
    found = [json.loads(line) for line in logs("--json").stdout.splitlines()]
    assert {"dhcpcd", "dns-forwarder", "docker/dockerd"} <= {line["service"] for line in found}
    assert [line["time"] for line in found] == sorted(line["time"] for line in found)
    assert all(line["time"].endswith("Z") for line in found)


def test_a_service_is_asked_for_alone(logs: Callable[..., Any]) -> None:
    found = {json.loads(line)["service"] for line in logs("--json", "docker").stdout.splitlines()}
    assert {"docker/dockerd", "docker/containerd"} & found
    assert {name.partition("/")[0] for name in found} == {"docker"}


def test_one_that_is_not_there_is_an_error_with_the_list(logs: Callable[..., Any]) -> None:
    done = logs("dockr")
    assert done.returncode == 1
    assert "no service 'dockr'; there are: acpid, allowlist" in done.stderr


def test_lines_survive_a_restart(host: Host, logs: Callable[..., Any]) -> None:
    say(host, "acpid", 1, "before the restart")
    host.check_output("ctr -n services.linuxkit task kill -s SIGKILL acpid")
    eventually(lambda: "RUNNING" in host.check_output("ctr -n services.linuxkit task ls | grep acpid"), "acpid", 5)
    eventually(lambda: logs("acpid").stdout.rstrip().endswith("on"), "what acpid says when it starts", 5)
    assert "before the restart" in logs("acpid").stdout


def test_the_collectors_end_loses_nothing(host: Host, logs: Callable[..., Any]) -> None:
    host.check_output("pkill -KILL -f [/]usr/bin/log-collector && sh -c 'echo while it was away >/run/logs/acpid'")
    eventually(lambda: "while it was away" in logs("--tail", "3", "acpid").stdout, "the line", 5)


def test_a_log_is_followed_across_rotations_and_bounded(host: Host, followed: subprocess.Popen[str]) -> None:
    at_once, times = 4000, 12
    assert followed.stdout
    time.sleep(2)  # the way into the guest, and what is there already
    for _ in range(times):
        say(host, "acpid", at_once, "a line of some length, as services print them")
        found = [followed.stdout.readline() for _ in range(at_once)]
        assert [line.split()[-1] for line in found] == [str(number + 1) for number in range(at_once)]
    size = int(host.check_output("cat /var/log/acpid.log* | wc -c"))
    assert times * at_once * 60 > LIMIT >= size


def test_nobody_follows_once_the_reader_is_gone(host: Host, followed: subprocess.Popen[str]) -> None:
    eventually(lambda: host.run("pgrep -f logs.reader").stdout, "the reader in the guest")
    followed.terminate()
    eventually(lambda: not host.run("pgrep -f '[l]og_reader'").stdout, "the reader in the guest to end")
