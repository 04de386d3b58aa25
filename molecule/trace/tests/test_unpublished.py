"""What a network does not publish is no broken chain: every tool says so, and nothing is accused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probing import answered

from support.host_ports import free_port
from support.waiting import eventually

PROJECT = Path(__file__).parents[3]
Trace = Callable[..., dict[str, Any]]


def portchain(guest: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command's outcome."""
    command = ["portchain", *words, "--guest", guest]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def started(engine: Any, probe: Any, image: str) -> Callable[..., str]:
    """Starts a container as ``docker run`` asks for it, which the SDK does not let past for every mode; its name."""

    def start(name: str, port: int, mode: str) -> str:
        bindings = {"7000/tcp": [{"HostPort": str(port)}]}
        body = {"Image": image, "HostConfig": {"NetworkMode": mode, "PortBindings": bindings}}
        body |= {"Cmd": ["tcp:[::]:7000"], "StopSignal": "SIGKILL", "ExposedPorts": {"7000/tcp": {}}}
        api = engine.api
        made = api._result(api._post_json(api._url("/containers/create"), data=body, params={"name": name}), True)
        api.start(made["Id"])
        return name

    return start


@pytest.fixture
def internal(engine: Any, probe: Any) -> str:
    """A network that publishes nothing."""
    return str(engine.networks.create("inner", driver="bridge", internal=True).name)


@pytest.mark.parametrize("mode", ["inner", "none", "host"])
def test_a_port_that_the_engine_does_not_publish(
    mode: str, internal: str, started: Callable[..., str], guest_name: str, trace: Trace
) -> None:
    port = free_port()
    name = started("withheld", port, mode)
    found = trace(port)["verdict"]
    assert found["code"] == "not-published"
    assert f"container {name}: the engine does not publish *:{port}->7000/tcp" in found["text"]
    assert "docker restart" not in found["remedy"]
    everything = portchain(guest_name, "trace", "--json")
    assert everything.returncode == 0, everything.stdout
    (withheld,) = json.loads(everything.stdout)["unpublished"]
    assert (withheld["container"], withheld["ports"]) == (name, [f"*:{port}->7000/tcp"])
    assert f"note: {found['text'][:40]}" in portchain(guest_name, "trace").stdout
    listed = portchain(guest_name, "ps")
    assert listed.returncode == 0
    assert found["text"] in listed.stderr


def test_the_report_says_what_is_not_published(
    internal: str, started: Callable[..., str], guest_name: str, tmp_path: Path
) -> None:
    name = started("withheld", free_port(), internal)
    done = portchain(guest_name, "report", "--json", "--output", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stdout
    (text,) = json.loads(done.stdout)["unpublished"]
    assert f"container {name}: " in text
    assert "network inner is internal" in (tmp_path / "page.html").read_text()


def test_the_last_stage_passes_and_says_what_is_not_published(
    internal: str, started: Callable[..., str], guest_name: str
) -> None:
    name = started("withheld", free_port(), internal)
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/verify.yml"]
    command += ["--inventory", str(Path(__file__).parents[1] / "inventory"), "--extra-vars", "reachability_timeout=5"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, said
    assert f"container {name}: the engine does not publish" in said


def test_a_disconnected_container_is_a_broken_chain(
    engine: Any, served: Callable[..., tuple[Any, int]], guest_name: str, verdict: Callable[[int], str]
) -> None:
    container, port = served()
    engine.networks.get("bridge").disconnect(container)
    eventually(lambda: verdict(port) == "network-disconnected", "the engine's removal of the port")
    everything = portchain(guest_name, "trace", "--json")
    assert everything.returncode == 1
    told = json.loads(everything.stdout)
    assert told["unpublished"] == []
    assert told["verdict"]["code"] == "network-disconnected"


@pytest.fixture(params=["before its start", "while it runs"])
def connected(request: Any, internal: str, engine: Any, probe: Any, image: str) -> tuple[Any, Any, int]:
    """A container that was created in an internal network and then connected to a bridge, as compose does it: it, the
    bridge and its port."""
    outer, port = engine.networks.create("outer", driver="bridge"), free_port()
    ports = {"7000/tcp": port}
    container = engine.containers.create(image, network=internal, ports=ports, stop_signal="SIGKILL")
    steps = [container.start, lambda: outer.connect(container)]
    for step in steps if request.param == "while it runs" else reversed(steps):
        step()
    return container, outer, port


def test_a_container_in_an_internal_network_and_a_bridge_is_published(
    connected: tuple[Any, Any, int], trace: Trace, mended: Callable[[int], None]
) -> None:
    """Once it is in the internal one alone, the engine takes the rule away, and goes on to claim the port and to hold
    its socket."""
    container, outer, port = connected
    answered(port)
    mended(port)
    outer.disconnect(container)
    eventually(lambda: trace(port)["verdict"], "the end of the engine's rule")
    found = trace(port)["verdict"]
    assert found["code"] == "network-disconnected"
    assert "network inner is internal" in found["text"]
    outer.connect(container)
    mended(port)
