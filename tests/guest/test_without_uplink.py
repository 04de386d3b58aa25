"""A guest without a way to the outside: the host is still there, and all else is said at once not to be."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from .plays import play

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a guest is booted by root"),
    pytest.mark.usefixtures("images"),
]
ASK = """
import json, socket, sys, time
began = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as client:
        said = client.makefile().readline()
except OSError as error:
    said = str(error)
print(json.dumps([said, time.monotonic() - began]))
"""


@pytest.fixture(scope="module", autouse=True)
def guest() -> Iterator[None]:
    """The tests' own guest; its inventory gives it no uplink."""
    play("site.yml")
    yield
    play("playbooks/teardown.yml")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server on the host's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with contextlib.suppress(OSError):  # the server is closed at the end
                while True:
                    client, _ = server.accept()
                    client.sendall(b"here\n")
                    client.close()

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]


def ask(name: str, port: int) -> Any:
    """What the guest reads from there, or the error, and the seconds it took."""
    command = shlex.join(["python3", "-c", ASK, name, str(port)])
    ssh = ["ssh", "-F", "/run/portchain/trace/ssh_config", "trace", command]
    done = subprocess.run(ssh, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def test_the_hosts_loopback_is_reached(port: int) -> None:
    said, seconds = ask("host.docker.internal", port)
    assert said == "here\n"
    assert seconds < 1


def test_a_name_of_the_outside_is_not_waited_for() -> None:
    said, seconds = ask("example.com", 80)
    assert "name resolution" in said
    assert seconds < 1


def test_an_address_of_the_outside_is_unreachable_at_once() -> None:
    said, seconds = ask("192.0.2.1", 80)
    assert "Network is unreachable" in said
    assert seconds < 1
