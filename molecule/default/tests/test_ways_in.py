"""The ways into the guest, from the host and from within."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

DEADLINE = 10.0
SHELL_OF_DIAGNOSTICSD = "sh -c 'pgrep -x sh -P $(pgrep -x diagnosticsd)'"


def read_until(shell: socket.socket, text: bytes) -> bytes:
    """What the shell prints up to ``text``."""
    seen = b""
    shell.settimeout(DEADLINE)
    while text not in seen:
        data = shell.recv(4096)
        assert data, seen
        seen += data
    return seen


def test_the_debug_shell_is_a_root_shell_in_the_guest(host: Host, run_dir: Path, seed: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX) as shell:
        shell.connect(str(run_dir / seed["host"]["debug_shell"]))
        read_until(shell, b"# ")
        shell.sendall(b"echo $(id -u) $(hostname) done\n")
        assert b"0 linuxkit done" in read_until(shell, b"done")
        assert host.run(SHELL_OF_DIAGNOSTICSD).rc == 0
    end = time.monotonic() + DEADLINE
    while host.run(SHELL_OF_DIAGNOSTICSD).rc == 0:
        assert time.monotonic() < end, "the shell outlives its connection"
        time.sleep(0.1)


def test_ctr_leads_into_the_docker_service(in_engine: Callable[[str], str]) -> None:
    assert "docker0" in in_engine("ip -brief link")
    assert in_engine("bash -c 'command -v dockerd'").strip() == "/usr/local/bin/dockerd"


def test_portchain_shell_runs_a_command_and_passes_its_status_on(guest_name: str) -> None:
    command = ["portchain", "shell", "--guest", guest_name, "--json", "--", "sh", "-c", "hostname; exit 3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["stdout"] == "linuxkit\n"


def test_portchain_shell_tells_a_signal_as_shells_do(guest_name: str) -> None:
    command = ["portchain", "shell", "--guest", guest_name, "kill -9 $$"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (137, "")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["printf", "<%s>", "a  b", "it's", "$HOME", ""], "<a  b><it's><$HOME><>"),
        (["sh", "-c", 'printf "<%s>" "$1"; exit 42', "sh", "a  b"], "<a  b>"),
        (["printf '<%s>' a  b | cat; exit 42"], "<a><b>"),
    ],
)
def test_words_after_portchain_shell_stay_words_and_one_is_a_line(
    guest_name: str, words: list[str], printed: str
) -> None:
    command = ["portchain", "shell", "--guest", guest_name, "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (42 if "exit 42" in str(words) else 0, printed)


def test_portchain_status_says_what_runs(guest_name: str, state: dict[str, Any]) -> None:
    done = subprocess.run(
        ["portchain", "status", "--guest", guest_name, "--json"], capture_output=True, text=True, timeout=30, check=True
    )
    (found,) = json.loads(done.stdout)
    assert (found["state"], found["driver"], found["pid"]) == ("running", "namespace", state["pid"])
    assert found["uptime"] > 0
    assert 0 < found["memory"] < 4 << 30


def test_portchain_ps_lists_the_forwards(guest_name: str, seed: dict[str, Any]) -> None:
    done = subprocess.run(
        ["portchain", "ps", "--guest", guest_name, "--json"], capture_output=True, text=True, timeout=30, check=True
    )
    ports = {
        int(row["listen"].rpartition(":")[2])
        for row in json.loads(done.stdout)
        if not row["listen"].startswith("unix:")
    }
    assert ports == set(seed["host"]["listeners_tcp"])
