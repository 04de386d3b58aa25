"""What the host listens on follows from what clients ask for, and is shown as they asked for it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
import pytest
from probing import Guest, answered, datagram, host_port, refused

from portchain.http import blocking_client
from support.host_ports import free_port, free_ports
from support.waiting import eventually

Probe = Callable[..., Any]
Ask = Callable[..., Any]
SECONDS = 30
IDLE = {"Entrypoint": ["sleep"], "Cmd": ["300"]}


@pytest.fixture(params=["docker.sock", "engine.sock"])
def ask(request: pytest.FixtureRequest, run_dir: Path, probe: Probe) -> Ask:
    """Puts a request to the engine, through the host and past it: ``probe`` removes what it makes."""

    def ask(method: str, path: str, body: Any = None) -> Any:
        status, said = blocking_client.request(str(run_dir / request.param), method, path, SECONDS, body)
        assert status < HTTPStatus.BAD_REQUEST, said
        return json.loads(said) if said else None

    return ask


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("first", ["", "127.0.0.1", "::1"])
def test_one_host_port_twice_in_one_container_is_refused(
    engine: Any, probe: Probe, image: str, first: str, protocol: str
) -> None:
    port = free_port()
    ports = {f"7000/{protocol}": (first, port), f"7001/{protocol}": port}
    container = engine.containers.create(image, ports=ports)
    with pytest.raises(docker.errors.APIError, match=r"already allocated|already in use"):
        container.start()
    container.reload()
    assert (container.attrs["State"]["ExitCode"], container.status) == (128, "created")
    assert refused(port)
    assert refused(port, "::1")


def labelled_image(engine: Any, image: str, **labels: str) -> Any:
    """An image that brings labels."""
    lines = [f"FROM {image}", *(f"LABEL {key}={json.dumps(value)}" for key, value in labels.items())]
    built, _ = engine.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), rm=True, forcerm=True)
    return built


@pytest.fixture
def label(engine: Any, image: str) -> Iterator[Callable[..., Any]]:
    """Makes an image with a label, removed after the test."""
    made: list[Any] = []

    def make(**labels: str) -> Any:
        made.append(labelled_image(engine, image, **labels))
        return made[-1]

    yield make
    for one in made:
        for container in engine.containers.list(all=True, filters={"ancestor": one.id}):
            container.remove(force=True)
        engine.images.remove(one.id, force=True)


def test_an_image_cannot_make_the_host_listen(engine: Any, guest: Guest, label: Callable[..., Any]) -> None:
    port = free_port()
    built = label(**{"io.portchain.ports": f'[["80/tcp","","{port}","127.0.0.1",8080]]'})
    policy = {"Name": "always"}
    container = engine.containers.run(built.id, entrypoint="false", restart_policy=policy, detach=True)
    eventually(lambda: container.reload() or container.status == "restarting", "a container between two runs")
    time.sleep(0.5)
    assert refused(port)
    assert not [row for row in guest.forwards() if row["owner"] == container.name]


def test_an_image_cannot_have_clients_announced(engine: Any, guest: Guest, label: Callable[..., Any]) -> None:
    port = free_port()
    built = label(**{"io.portchain.proxy-protocol/7000/tcp": "v2"})
    engine.containers.run(built.id, ports={"7000/tcp": port}, detach=True)
    answered(port)
    assert [row["proxy_protocol"] for row in guest.forwards() if row["listen"].endswith(f":{port}")] == [""]


def test_labels_are_those_that_were_asked_for(engine: Any, raw_engine: Any, probe: Probe, image: str) -> None:
    port = free_port()
    container = probe(ports={"7000": port, "7000/udp": None}, labels={"a": "b"})
    expected = (engine.images.get(image).labels or {}) | {"a": "b"}
    assert container.labels == expected
    assert raw_engine.containers.get(container.id).labels == expected
    committed = container.commit()
    try:
        assert committed.labels == expected
    finally:
        engine.images.remove(committed.id)


def test_publish_all_is_shown_as_asked_even_with_nothing_to_publish(ask: Ask, image: str) -> None:
    create = {"Image": image, **IDLE, "HostConfig": {"PublishAllPorts": True, "NetworkMode": "none"}}
    made = [ask("POST", "/containers/create", create)["Id"]]
    create["HostConfig"] = {"PublishAllPorts": True, "PortBindings": {"7000/tcp": [{}], "7000/udp": [{}]}}
    made.append(ask("POST", "/containers/create", create)["Id"])
    for container in made:
        assert ask("GET", f"/containers/{container}/json")["HostConfig"]["PublishAllPorts"] is True


@pytest.mark.parametrize("key", ["7000", "7000/TCP", "7000/tcp"])
def test_a_port_is_published_however_its_key_is_written(ask: Ask, guest: Guest, image: str, key: str) -> None:
    port = free_port()
    bindings = {key: [{"HostIp": "", "HostPort": str(port)}]}
    create = {"Image": image, "ExposedPorts": {key: {}}, "HostConfig": {"PortBindings": bindings}}
    container = ask("POST", "/containers/create", create)["Id"]
    ask("POST", f"/containers/{container}/start")
    answered(port)
    shown = ask("GET", f"/containers/{container}/json")
    assert shown["HostConfig"]["PortBindings"] == bindings
    assert shown["NetworkSettings"]["Ports"]["7000/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": str(port)}]


def test_a_remembered_port_of_what_is_stopped_is_free_for_others(probe: Probe) -> None:
    low, high = free_ports(2)
    containers = [probe(ports={"7000": f"{low}-{high}"}) for _ in range(2)]
    assert {host_port(one) for one in containers} == {low, high}
    for container in containers:
        container.stop()
    third = probe(ports={"7000": f"{low}-{high}"})
    assert host_port(third) in (low, high)
    answered(host_port(third))
    containers[0].start()
    assert {host_port(containers[0]), host_port(third)} == {low, high}


def test_a_range_passes_over_an_address_of_the_same_container(probe: Probe) -> None:
    low, high = free_ports(2)
    container = probe(ports={"7000/tcp": ("127.0.0.1", low), "7001/tcp": f"{low}-{high}"})
    assert host_port(container) == low
    assert host_port(container, "7001/tcp") == high


@pytest.mark.parametrize("asked", [{"7000/tcp": None}, {"7000/tcp": ("0.0.0.0", None)}])
def test_what_is_published_past_the_host_listens_in_the_families_of_the_engines_own(
    raw_engine: Any, probe: Probe, image: str, asked: dict[str, Any]
) -> None:
    port = free_port()
    anywhere = asked["7000/tcp"] is None
    ports = {f"7000/{protocol}": port if anywhere else ("0.0.0.0", port) for protocol in ("tcp", "udp")}
    raw_engine.containers.run(image, ports=ports, detach=True, stop_signal="SIGKILL")
    for address in ("127.0.0.1", "::1") if anywhere else ("127.0.0.1",):
        answered(port, address)
        assert datagram(port, b"hello", address) == b"hello"
    assert refused(port, "::1") is not anywhere
