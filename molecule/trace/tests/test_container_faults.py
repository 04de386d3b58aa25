"""Each fault of a container, made for real as in test_faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probing import Guest, as_root

from support.host_ports import free_port
from support.waiting import eventually

Served = Callable[..., tuple[Any, int]]
Verdict = Callable[[int | str], str]
Trace = Callable[..., dict[str, Any]]
Mended = Callable[[int | str], None]


def test_container_stopped(served: Served, trace: Trace, mended: Mended) -> None:
    container, port = served(name="stopped")
    container.stop(timeout=0)
    found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("container-stopped", "container")
    assert "container stopped does not run: exited, exit code 137" in found["text"]
    assert found["remedy"].startswith("docker start stopped")
    container.start()
    mended(port)


def test_container_never_started(engine: Any, probe: Any, image: str, verdict: Verdict) -> None:
    port = free_port()
    engine.containers.create(image, ports={"7000/tcp": port})
    assert verdict(port) == "container-stopped"


def test_container_paused(served: Served, trace: Trace, mended: Mended) -> None:
    container, port = served()
    container.pause()
    found = trace(port)["verdict"]
    container.unpause()
    assert (found["code"], found["hop"]) == ("container-paused", "container")
    mended(port)


def test_nothing_listens_in_the_container(probe: Any, trace: Trace) -> None:
    port = free_port()
    probe(ports={"7001/tcp": port}, name="elsewhere")
    eventually(lambda: "it listens on 7000" in str(trace(port)["verdict"]), "the server's start")
    found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("nothing-listening", "container-socket")
    assert "nothing in container elsewhere listens on tcp port 7001" in found["text"]


def test_the_server_listens_on_its_own_loopback_only(probe: Any, verdict: Verdict, trace: Trace) -> None:
    port = free_port()
    probe("tcp:127.0.0.1:7000", ports={"7000/tcp": port})
    eventually(lambda: verdict(port) == "container-loopback-only", "the server's start")
    found = trace(port)["verdict"]
    assert found["hop"] == "container-socket"
    assert "0.0.0.0:7000" in found["remedy"]


def test_wrong_protocol_served(probe: Any, verdict: Verdict, trace: Trace) -> None:
    port = free_port()
    probe("udp:[::]:7000", ports={"7000/tcp": port})
    eventually(lambda: verdict(port) == "wrong-protocol", "the server's start")
    assert trace(port)["verdict"]["hop"] == "container-socket"


def test_ipv6_only_server_behind_ipv4_rules(served: Served, probe: Any, verdict: Verdict, trace: Trace) -> None:
    port = free_port()
    server = "import socket; s = socket.create_server(('::', 7000), family=socket.AF_INET6); input()"
    command = {"entrypoint": ["python3", "-c", server], "tty": True, "stdin_open": True}
    probe(ports={"7000/tcp": port}, **command)
    eventually(lambda: verdict(port) == "ipv6-half", "the server's start")
    assert trace(port)["verdict"]["hop"] == "container-socket"


def test_container_that_ends_again_and_again(probe: Any, trace: Trace) -> None:
    port = free_port()
    command = {"entrypoint": ["sh", "-c", "exit 3"], "restart_policy": {"Name": "always"}}
    container = probe(ports={"7000/tcp": port}, name="falling", **command)
    eventually(lambda: container.reload() or container.attrs["RestartCount"] > 4, "a long pause between its lives")
    eventually(lambda: container.reload() or container.status == "restarting", "such a pause")
    found = trace(port)["verdict"]
    assert found["code"] == "container-stopped"
    assert "container falling ends and is restarted, exit code 3" in found["text"]
    assert found["remedy"] == "docker logs falling"


def test_nothing_listens_at_all(probe: Any, trace: Trace) -> None:
    port = free_port()
    probe(ports={"7000/tcp": port}, name="deaf", entrypoint=["sleep", "60"])
    found = trace(port)["verdict"]
    assert (found["code"], found["hop"]) == ("nothing-listening", "container-socket")
    assert found["remedy"] == "start the server: docker logs deaf"


def test_an_engine_that_is_stopped_accuses_nobody(served: Served, guest: Guest, trace: Trace, mended: Mended) -> None:
    _, port = served()
    engine = str(guest.pids["dockerd"])
    as_root("kill", "-STOP", engine)
    try:
        found = trace(port)
    finally:
        as_root("kill", "-CONT", engine)
    assert found["verdict"] is None
    (hop,) = [hop for hop in found["chains"][0]["hops"] if hop["kind"] == "container"]
    assert hop["state"] == "unknown"
    assert "the engine does not answer" in hop["says"]
    mended(port)
