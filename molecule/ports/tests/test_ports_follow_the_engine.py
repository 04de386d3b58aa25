"""The host listens for what runs and for nothing else, however late the engine is to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest
from probing import Guest, answered, as_root, host_port, refused

from support.host_ports import free_port
from support.waiting import eventually

Probe = Callable[..., Any]
ROUNDS = 5
BUSY_SECONDS = 120
WITHIN = 30.0
# Writes and has the disk keep it, again and again: the engine keeps each state of a container before it lists it.
FSYNC = f"""
import os, time
end = time.monotonic() + {BUSY_SECONDS}
with open("/busy", "wb") as file:
    while time.monotonic() < end:
        file.seek(0)
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
"""


@pytest.fixture(scope="module", params=["idle", "busy"])
def disk(request: pytest.FixtureRequest, engine: Any, image: str) -> Iterator[str]:
    """A disk that is idle, or that other containers keep busy."""
    words = {"entrypoint": "python3", "detach": True}
    made = [engine.containers.run(image, ["-c", FSYNC], **words) for _ in range(3) if request.param == "busy"]
    yield str(request.param)
    for container in made:
        container.remove(force=True)


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_is_free_once_its_container_was_waited_for(probe: Probe, protocol: str) -> None:
    port = free_port()
    for _ in range(ROUNDS):
        container = probe(entrypoint="true", ports={f"7000/{protocol}": port})
        container.wait(timeout=WITHIN)
        assert refused(port)


@pytest.mark.usefixtures("disk")
def test_a_port_is_free_once_the_removal_of_its_container_was_waited_for(engine: Any, probe: Probe, image: str) -> None:
    port = free_port()
    with ThreadPoolExecutor() as pool:
        for _ in range(ROUNDS):
            container = engine.containers.create(image, entrypoint="true", ports={"7000": port}, auto_remove=True)
            waiting = pool.submit(container.wait, timeout=WITHIN, condition="removed")
            container.start()
            assert waiting.result(WITHIN)["StatusCode"] == 0
            assert refused(port)


@pytest.mark.usefixtures("disk")
def test_a_port_is_had_by_the_next_while_nobody_was_told_that_it_is_free(raw_engine: Any, probe: Probe) -> None:
    port = free_port()
    for _ in range(ROUNDS):
        container = probe(entrypoint="true", ports={"7000": port})
        raw_engine.containers.get(container.id).wait(timeout=WITHIN)


@pytest.mark.usefixtures("disk")
def test_a_port_is_released_without_anybody_asking(raw_engine: Any, probe: Probe) -> None:
    for _ in range(ROUNDS):
        port = free_port()
        container = probe(ports={"7000": port})
        assert not refused(port)
        raw_engine.containers.get(container.id).kill()
        eventually(lambda port=port: refused(port), "no listener for what ended", WITHIN)


@pytest.mark.usefixtures("disk")
def test_a_port_comes_with_the_network_that_publishes_it(engine: Any, raw_engine: Any, probe: Probe) -> None:
    engine.networks.create("inside", internal=True)
    for through in (engine, raw_engine) * 2:
        port = free_port()
        container = probe(ports={"7000": port}, network="inside")
        through.networks.get("bridge").connect(container.id)
        answered(port, deadline=WITHIN)
        container.remove(force=True)


def test_what_a_host_network_has_is_free_once_its_container_was_waited_for(engine: Any, probe: Probe) -> None:
    port = free_port()
    for _ in range(3):
        container = probe(f"tcp:0.0.0.0:{port}", network_mode="host")
        answered(port)
        container.stop()
        published = probe(ports={"7000": port})
        answered(port)
        published.remove(force=True)


def test_a_restart_that_the_engine_gives_up_takes_the_port_along(guest: Guest, engine: Any, probe: Probe) -> None:
    port = free_port()
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    container = probe(entrypoint="false", ports={"7000": port}, restart_policy=policy)
    eventually(lambda: container.reload() or container.status == "exited", "the end of all retries")
    eventually(lambda: refused(port), "no listener for what is not started again")


def test_a_new_name_is_shown_and_told(guest: Guest, engine: Any, raw_engine: Any, probe: Probe, image: str) -> None:
    port = free_port()
    container = probe(ports={"7000": port}, name="first")
    other = engine.containers.create(image, ports={"7000": port})
    for through, name in ((engine, "second"), (raw_engine, "third")):
        through.containers.get(container.id).rename(name)

        def is_told(name: str = name) -> bool:
            with pytest.raises(docker.errors.APIError) as refusal:
                other.start()
            return f"container {name} publishes" in str(refusal.value.explanation)

        eventually(is_told, f"the name {name} in a refusal", 2)
        assert [row["owner"] for row in guest.forwards() if row["listen"].endswith(f":{port}")] == [name]


def test_what_was_asked_and_refused_outlives_the_daemon(guest: Guest, engine: Any, probe: Probe, image: str) -> None:
    port = free_port()
    random = probe(ports={"7000": None})
    given = host_port(random)
    probe(ports={"7000": port})
    other = engine.containers.create(image, ports={"7000": port})
    with pytest.raises(docker.errors.APIError):
        other.start()
    before = guest.pids["forwarder"]
    as_root("kill", "-9", str(before))
    eventually(lambda: guest.pids["forwarder"] != before and engine.ping(), "another daemon")
    other.reload()
    assert (other.attrs["State"]["ExitCode"], other.attrs["State"]["Error"][:23]) == (128, "Ports are not available")
    assert other.attrs["HostConfig"]["PortBindings"]["7000/tcp"] == [{"HostIp": "", "HostPort": str(port)}]
    eventually(lambda: not refused(given), "the random port")
    assert host_port(random) == given
