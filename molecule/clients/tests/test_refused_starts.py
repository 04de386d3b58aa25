"""A start that the host refuses is to clients what the engine's own is: told at once, with nothing left to wait for."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from probing import Run, answered, refused

from support.host_ports import free_port

SOON = 10.0  # seconds: beyond all noise, and far below a client that waits for ever
FORBIDDEN = 81


@contextmanager
def taken(protocol: str = "tcp") -> Iterator[int]:
    """A port that a process of the host has."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        port = free_port()
        sock.bind(("0.0.0.0", port))
        if protocol == "tcp":
            sock.listen()
        yield port


@contextmanager
def forbidden() -> Iterator[int]:
    """A port that the policy refuses."""
    yield FORBIDDEN


def told(run: Callable[[], Any]) -> str:
    """What is said of a failure, which is to come soon."""
    began = time.monotonic()
    said = str(run().stderr)
    assert time.monotonic() - began < SOON
    return said


def state(cli: Run, name: str) -> dict[str, Any]:
    """A container's state in ``docker inspect``."""
    return dict(json.loads(cli("inspect", "--format", "{{json .State}}", name).stdout))


@pytest.mark.parametrize("detached", [(), ("-d",)], ids=["attached", "detached"])
@pytest.mark.parametrize("way", [taken, lambda: taken("udp"), forbidden], ids=["tcp", "udp", "policy"])
def test_a_run_that_removes_itself_ends_and_leaves_nothing(
    cli: Run, image: str, way: Callable[[], Any], detached: tuple[str, ...]
) -> None:
    protocol = "udp" if way not in (taken, forbidden) else "tcp"
    before = cli("volume", "ls", "-q").stdout
    with way() as port:
        words = ("run", "--rm", *detached, "--name", "brief", "-v", "/srv", "-p", f"{port}:7000/{protocol}", image)
        assert "Ports are not available" in told(lambda: cli(*words, rc=125))
    assert not cli("ps", "-aq", "--filter", "name=brief").stdout
    assert cli("volume", "ls", "-q").stdout == before


def test_a_folder_that_is_not_shared_is_no_different(cli: Run, raw_engine: Any, image: str) -> None:
    raw_engine.containers.create(image, name="elsewhere", volumes=["/srv/elsewhere:/srv"], auto_remove=True)
    assert "Mounts denied" in told(lambda: cli("start", "-a", "elsewhere", rc=1))
    assert not cli("ps", "-aq", "--filter", "name=elsewhere").stdout


def test_its_state_is_that_of_a_start_that_failed_at_the_engine(cli: Run, raw_engine: Any, image: str) -> None:
    port, inner = free_port(), free_port()
    with socket.create_server(("", port)):
        assert "Ports are not available" in told(
            lambda: cli("run", "-d", "--name", "refused", "-p", f"{port}:7000", image, rc=125)
        )
        ours = state(cli, "refused")
    raw_engine.containers.run(image, name="holder", ports={"7000": inner}, detach=True)
    failed = raw_engine.containers.create(image, name="failed", ports={"7000": inner})
    with pytest.raises(Exception, match="already allocated"):
        failed.start()
    theirs = state(cli, "failed")
    assert ours.pop("Error").startswith("Ports are not available: exposing port TCP")
    assert theirs.pop("Error")
    assert ours == theirs
    shown = cli("ps", "-a", "--format", "{{.Names}} {{.Status}}").stdout.splitlines()
    assert {"refused Created", "failed Created"} <= set(shown)
    assert cli("wait", "refused", "failed").stdout == "128\n128\n"
    cli("start", "refused")
    answered(port)
    assert (state(cli, "refused")["Error"], state(cli, "refused")["ExitCode"]) == ("", 0)


@pytest.mark.parametrize("code", [0, 3])
def test_a_container_that_ran_before_keeps_how_it_ended(cli: Run, image: str, code: int) -> None:
    port = free_port()
    shown = code or 128
    cli("run", "--name", "again", "-p", f"{port}:7000", "--entrypoint", "sh", image, "-c", f"exit {code}", rc=code)
    with socket.create_server(("", port)):
        assert "Ports are not available" in told(lambda: cli("start", "-a", "again", rc=1))
        assert state(cli, "again")["ExitCode"] == shown
        assert cli("wait", "again").stdout == f"{shown}\n"
        status = cli("ps", "-a", "--filter", "name=again", "--format", "{{.Status}}").stdout
        assert status.startswith(f"Exited ({shown})")


def test_a_restart_policy_does_not_start_it_later(cli: Run, image: str) -> None:
    with taken() as port:
        words = ("run", "-d", "--restart", "always", "--name", "always", "-p", f"{port}:7000", image)
        assert "Ports are not available" in told(lambda: cli(*words, rc=125))
    time.sleep(1)
    assert refused(port)
    assert state(cli, "always")["Status"] == "created"
    cli("start", "always")
    answered(port)


def test_compose_says_so_and_ends(compose: Run, image: str, tmp_path: Path) -> None:
    with taken() as port:
        definition = {"version": "3.3", "services": {"web": {"image": image, "ports": [f"{port}:7000"]}}}
        file = tmp_path / "compose.json"
        file.write_text(json.dumps(definition))
        for words in (("up", "--detach"), ("run", "--rm", "--service-ports", "web")):
            done = told(lambda words=words: compose("--file", str(file), *words, rc=1))
            assert "Ports are not available" in done
        compose("--file", str(file), "down")
