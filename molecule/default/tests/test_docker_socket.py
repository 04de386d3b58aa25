"""The docker service's own /var/run/docker.sock, which containers mount: it leads to the host's daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probing import as_root

from portchain.http.blocking_client import get_json

DEADLINE = 20.0
SOCKET = "/var/run/docker.sock"
PING = f"curl --silent --max-time 5 --unix-socket {SOCKET} http://docker/_ping"
RAW = "docker --host unix:///run/guest-services/docker.sock"


@pytest.fixture
def client(engine: Any) -> Iterator[Any]:
    """An idle container that has the socket mounted."""
    tag = next(tag for image in engine.images.list() for tag in image.tags if tag.startswith("portchain/kicbase:"))
    volumes = {SOCKET: {"bind": SOCKET, "mode": "rw"}}
    container = engine.containers.run(tag, ["300"], entrypoint=["sleep"], volumes=volumes, detach=True)
    yield container
    container.remove(force=True)


@pytest.fixture
def restarted(run_dir: Path) -> Callable[[], None]:
    """Kills the host's daemon and waits until another one answers."""

    def pid() -> Any:
        try:
            return get_json(str(run_dir / "control.sock"), "/status", 5)["pid"]
        except OSError:
            return None

    def kill() -> None:
        before = pid()
        as_root("kill", "-KILL", str(before))
        end = time.monotonic() + DEADLINE
        while pid() in (None, before):
            assert time.monotonic() < end, "no other daemon"
            time.sleep(0.1)

    return kill


def test_a_client_in_a_container_outlives_the_hosts_daemon(client: Any, restarted: Callable[[], None]) -> None:
    assert client.exec_run(PING).output == b"OK"
    restarted()
    end = time.monotonic() + DEADLINE
    while client.exec_run(PING).output != b"OK":
        assert time.monotonic() < end, "the socket leads nowhere"
        time.sleep(0.2)


def test_what_is_published_through_it_is_the_hosts(client: Any, in_engine: Callable[[str], str], engine: Any) -> None:
    tag = client.image.tags[0]
    name = in_engine(f"docker create --publish 127.0.0.1::80 {tag} true").strip()
    try:
        assert "127.0.0.1 550" in in_engine(f"{RAW} inspect {name} --format {{{{.HostConfig}}}}")
        assert engine.containers.get(name).attrs["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] in ("", "0")
    finally:
        engine.containers.get(name).remove()
