"""The Docker SDK for Python: its own forms of asking for ports, and the ways it streams."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from probing import answered, cleaned, datagram, host_port, refused

from support.host_ports import free_port, free_ports
from support.waiting import eventually

Probe = Callable[..., Any]
RANDOM_PORTS = range(49152, 65536)


def bound(container: Any, key: str = "7000/tcp") -> list[tuple[str, int]]:
    """The host's IPv4 ends that a container shows, after a single reload."""
    container.reload()
    ends = [(end["HostIp"], int(end["HostPort"])) for end in container.ports[key]]
    return [end for end in ends if ":" not in end[0]]


def context(files: dict[str, bytes]) -> io.BytesIO:
    """An archive of files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    return archive


def test_ports_as_a_number(probe: Probe) -> None:
    port = free_port()
    assert bound(probe(ports={"7000/tcp": port})) == [("0.0.0.0", port)]
    answered(port)


def test_ports_as_address_and_number(probe: Probe) -> None:
    port = free_port()
    assert bound(probe(ports={"7000/tcp": ("127.0.0.1", port)})) == [("127.0.0.1", port)]
    answered(port)
    assert refused(port, "127.0.0.2")


def test_ports_as_a_list(probe: Probe) -> None:
    ports = free_ports(2)
    assert sorted(bound(probe(ports={"7000": ports}))) == [("0.0.0.0", port) for port in ports]
    for port in ports:
        answered(port)


@pytest.mark.parametrize("asked", [None, 0, "", ("127.0.0.1", 0), ("127.0.0.1",), ("127.0.0.1", "")])
def test_ports_left_to_the_host(probe: Probe, asked: Any) -> None:
    ((address, port),) = bound(probe(ports={"7000/tcp": asked}))
    assert port in RANDOM_PORTS
    assert address == ("127.0.0.1" if isinstance(asked, tuple) else "0.0.0.0")
    answered(port)


def test_ports_as_a_range(probe: Probe) -> None:
    wanted = free_ports(3)
    ((_, port),) = bound(probe(ports={"7000/tcp": f"{wanted[0]}-{wanted[-1]}"}))
    assert port in wanted
    answered(port)


def test_ports_of_udp_beside_tcp(probe: Probe) -> None:
    port = free_port()
    container = probe(ports={"7000/tcp": port, "7000/udp": port})
    assert bound(container, "7000/udp") == bound(container) == [("0.0.0.0", port)]
    answered(port)
    assert datagram(port, b"hello") == b"hello"


def test_low_level_port_bindings(engine: docker.DockerClient, probe: Probe, image: str) -> None:
    port, api = free_port(), engine.api
    config = api.create_host_config(port_bindings={7000: ("127.0.0.1", port), "7001/udp": None})
    made = api.create_container(image, ports=[7000, (7001, "udp")], host_config=config)
    api.start(made)
    shown = api.inspect_container(made)
    assert shown["HostConfig"]["PortBindings"]["7000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    assert api.port(made, 7000) == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    assert int(api.port(made, "7001/udp")[0]["HostPort"]) in RANDOM_PORTS
    answered(port)


def test_publish_all_ports(probe: Probe) -> None:
    container = probe(publish_all_ports=True)
    answered(host_port(container))
    assert datagram(host_port(container, "7000/udp"), b"hello") == b"hello"


def test_a_port_in_use_is_an_api_error_and_nothing_starts(
    engine: docker.DockerClient, probe: Probe, image: str
) -> None:
    port, other = free_ports(2)
    probe(ports={"7000": port}, name="holder")
    late = engine.containers.create(image, ports={"7000": port, "7001": other}, name="late")
    with pytest.raises(docker.errors.APIError, match="Ports are not available: exposing port TCP") as refusal:
        late.start()
    assert refusal.value.status_code == 500
    assert refused(other)
    late.reload()
    assert late.status == "created"
    engine.containers.get("holder").remove(force=True)
    late.start()
    answered(port)


def test_errors_keep_their_classes(engine: docker.DockerClient, probe: Probe, image: str) -> None:
    with pytest.raises(docker.errors.NotFound):
        engine.containers.get("nobody")
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get("nothing:1")
    with pytest.raises(docker.errors.NotFound):
        engine.api.start("nobody")
    probe(name="taken", ports={"7000": None})
    with pytest.raises(docker.errors.APIError, match="already in use") as conflict:
        engine.containers.create(image, name="taken", ports={"7000": None})
    assert conflict.value.status_code == 409
    with pytest.raises(docker.errors.APIError) as refusal:
        probe(ports={"7000": "70000"})
    assert refusal.value.status_code in (400, 500)


def test_a_client_may_insist_on_the_engines_newest_api_and_on_no_newer(
    engine: docker.DockerClient, run_dir: Path, image: str, versions: dict[str, str]
) -> None:
    major, minor = map(int, versions["api"].split("."))
    base_url, port = f"unix://{run_dir}/docker.sock", free_port()
    newest = docker.DockerClient(base_url=base_url, version=versions["api"])
    with cleaned(engine):
        assert bound(newest.containers.run(image, detach=True, ports={"7000/tcp": port})) == [("0.0.0.0", port)]
        answered(port)
    newer = docker.DockerClient(base_url=base_url, version=f"{major}.{minor + 1}")
    with pytest.raises(docker.errors.APIError, match="is too new"):
        newer.containers.list()


def test_attach_socket_both_ways(engine: docker.DockerClient, probe: Probe, image: str) -> None:
    container = engine.containers.create(image, entrypoint=["cat"], stdin_open=True, tty=True)
    attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    raw: socket.socket = attached._sock
    raw.settimeout(10)
    raw.sendall(b"hello\n")
    seen = b""
    while b"hello\r\nhello" not in seen:
        seen += raw.recv(4096)
    attached.close()


def test_exec_run_with_a_socket(probe: Probe) -> None:
    _, attached = probe().exec_run(["cat"], stdin=True, socket=True)
    raw: socket.socket = attached._sock
    raw.settimeout(10)
    content = os.urandom(200_000)
    threading.Thread(target=lambda: (raw.sendall(content), raw.shutdown(socket.SHUT_WR)), daemon=True).start()
    stream = attached.makefile("rb") if hasattr(attached, "makefile") else raw.makefile("rb")
    back = b""
    while header := stream.read(8):
        assert header[0] == 1
        back += stream.read(int.from_bytes(header[4:], "big"))
    assert back == content


def test_exec_run_streams_and_tells_the_status(probe: Probe) -> None:
    container = probe()
    assert container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 3"], demux=True) == (3, (b"out\n", b"err\n"))
    _, stream = container.exec_run(["seq", "1", "20000"], stream=True)
    assert b"".join(stream).split() == [str(i).encode() for i in range(1, 20001)]


def test_logs_stream_ends_with_the_container(probe: Probe) -> None:
    container = probe(entrypoint=["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"])
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"


def test_events_are_decoded_one_by_one(engine: docker.DockerClient, probe: Probe) -> None:
    events = engine.events(decode=True, filters={"type": "container", "event": ["create", "start", "die", "destroy"]})
    try:
        container = probe(ports={"7000": None})
        container.remove(force=True)
        seen = [next(events) for _ in range(4)]
    finally:
        events.close()
    assert [event["Action"] for event in seen] == ["create", "start", "die", "destroy"]
    assert {event["Actor"]["ID"] for event in seen} == {container.id}


def test_ports_are_there_when_the_start_event_comes(engine: docker.DockerClient, probe: Probe) -> None:
    events = engine.events(decode=True, filters={"type": "container", "event": "start"})
    runner = threading.Thread(target=probe, kwargs={"ports": {"7000": None}})
    try:
        runner.start()
        started = next(events)
        shown = engine.api.inspect_container(started["id"])["NetworkSettings"]["Ports"]["7000/tcp"]
    finally:
        runner.join(10)
        events.close()
    assert int(shown[0]["HostPort"]) in RANDOM_PORTS
    assert not refused(int(shown[0]["HostPort"]))


def test_build_from_a_file_object(engine: docker.DockerClient, image: str) -> None:
    recipe = io.BytesIO(f"FROM {image}\nRUN echo built > /srv/note\nLABEL kind=note\n".encode())
    built, said = engine.images.build(fileobj=recipe, tag="note:1", rm=True)
    assert built.labels["kind"] == "note"
    assert any("Successfully built" in line.get("stream", "") for line in said)
    engine.images.remove("note:1")
    with pytest.raises(docker.errors.BuildError, match="returned a non-zero code"):
        engine.images.build(fileobj=io.BytesIO(f"FROM {image}\nRUN exit 3\n".encode()), rm=True, forcerm=True)


def test_save_and_load(engine: docker.DockerClient, image: str) -> None:
    built, _ = engine.images.build(
        fileobj=context({"Dockerfile": b"FROM scratch\nCOPY . /\n"}), custom_context=True, tag="empty:1"
    )
    saved = b"".join(built.save(named=True))
    engine.images.remove("empty:1")
    (loaded,) = engine.images.load(saved)
    assert (loaded.id, loaded.tags) == (built.id, ["empty:1"])
    engine.images.remove("empty:1")


def test_archives_both_ways(probe: Probe) -> None:
    content = os.urandom(2_000_000)
    archive = context({"file": content})
    container = probe()
    assert container.put_archive("/srv", archive.getvalue())
    chunks, stat = container.get_archive("/srv/file")
    assert stat["size"] == len(content)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as back:
        member = back.extractfile("file")
        assert member is not None
        assert member.read() == content


def test_stats_stream(probe: Probe) -> None:
    stats = probe().stats(stream=True, decode=True)
    first, second = next(stats), next(stats)
    stats.close()
    assert first["read"] < second["read"]


def test_wait_ends_with_the_container_or_with_its_timeout(probe: Probe) -> None:
    container = probe()
    started = time.monotonic()
    with pytest.raises((requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError)):
        container.wait(timeout=1)
    assert time.monotonic() - started < 3
    threading.Timer(0.3, container.kill).start()
    assert container.wait(timeout=10)["StatusCode"] == 137


def test_lists_by_filters(engine: docker.DockerClient, probe: Probe) -> None:
    port = free_port()
    container = probe(ports={"7000": port}, labels={"kind": "wanted"})
    for filters in ({"label": "kind=wanted"}, {"publish": str(port)}, {"id": container.id, "status": "running"}):
        assert [found.id for found in engine.containers.list(filters=filters)] == [container.id]
    (row,) = engine.api.containers(filters={"label": "kind=wanted"})
    assert {"IP": "0.0.0.0", "PrivatePort": 7000, "PublicPort": port, "Type": "tcp"} in row["Ports"]


def test_prune(engine: docker.DockerClient, probe: Probe) -> None:
    container = probe(ports={"7000": None}, entrypoint=["true"])
    eventually(lambda: container.wait(timeout=5), "its end")
    assert container.id in engine.containers.prune()["ContainersDeleted"]


def test_one_connection_after_another_request(engine: docker.DockerClient, probe: Probe) -> None:
    """A kept-alive connection goes on after errors, rewritten answers and streams."""
    session = engine.api
    session.get_adapter(session.base_url).pools.clear()
    for _ in range(5):
        probe(ports={"7000": None}).remove(force=True)
        with pytest.raises(docker.errors.NotFound):
            engine.containers.get("nobody")
        assert session.ping()


def test_containers_that_are_made_at_once_do_not_get_in_each_others_way(
    run_dir: Path, engine: docker.DockerClient, image: str, probe: Probe
) -> None:
    ports = free_ports(6)

    def made(_: int) -> str:
        client = docker.APIClient(base_url=f"unix://{run_dir}/docker.sock")
        asked = {"PortBindings": {"7000/tcp": [{"HostPort": f"{ports[0]}-{ports[-1]}"}]}}
        container = str(client.create_container(image, host_config=asked)["Id"])
        client.start(container)
        return container

    with ThreadPoolExecutor(len(ports)) as pool:
        containers = [engine.containers.get(one) for one in pool.map(made, ports)]
    assert sorted(host_port(one) for one in containers) == ports
    for port in ports:
        answered(port)
