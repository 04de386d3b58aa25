"""What clients do with the engine beyond asking and being answered, through the host's docker.sock."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.utils.socket import consume_socket_output, demux_adaptor, frames_iter

SECONDS = 30
MUCH = os.urandom(8 * 1024 * 1024)


@pytest.fixture
def shell(engine: docker.DockerClient, image: str) -> Iterator[Callable[..., Container]]:
    """Makes a container that runs a shell command, removed afterwards."""
    made: list[Container] = []

    def make(script: str, **words: Any) -> Container:
        made.append(engine.containers.create(image, ["-c", script], entrypoint="sh", **words))
        return made[-1]

    yield make
    for container in made:
        container.remove(force=True)


@contextmanager
def hijacked(stream: Any) -> Iterator[socket.socket]:
    """The connection below what the SDK gives, with a deadline."""
    sock: socket.socket = stream._sock
    sock.settimeout(SECONDS)
    yield sock
    stream.close()


def talk(sock: socket.socket, data: bytes, tty: bool = False) -> tuple[bytes | None, bytes | None]:
    """Write and half-close while reading; returns standard output and error, whole."""

    def write() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=write)
    writer.start()
    frames = (demux_adaptor(*frame) for frame in frames_iter(sock, tty=tty))
    heard: tuple[bytes | None, bytes | None] = consume_socket_output(frames, demux=True)
    writer.join(SECONDS)
    return heard


def test_attach_carries_both_ways_at_once_and_the_end_of_input(shell: Callable[..., Container]) -> None:
    container = shell("sha256sum; echo done >&2", stdin_open=True)
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    with hijacked(container.attach_socket(params=streams)) as sock:
        container.start()
        out, err = talk(sock, MUCH)
    assert (out, err) == (f"{hashlib.sha256(MUCH).hexdigest()}  -\n".encode(), b"done\n")
    assert container.wait(timeout=SECONDS)["StatusCode"] == 0


def test_exec_carries_what_is_written_to_what_is_read(
    engine: docker.DockerClient, shell: Callable[..., Container]
) -> None:
    container = shell("sleep 60")
    container.start()
    job = engine.api.exec_create(container.id, ["cat"], stdin=True)
    with hijacked(engine.api.exec_start(job["Id"], socket=True)) as sock:
        out, err = talk(sock, MUCH)
    assert (out == MUCH, err) == (True, None)
    assert engine.api.exec_inspect(job["Id"])["ExitCode"] == 0


def test_a_terminal_is_a_plain_stream(engine: docker.DockerClient, shell: Callable[..., Container]) -> None:
    container = shell("sleep 60")
    container.start()
    job = engine.api.exec_create(container.id, ["sh", "-c", 'read line; echo "<$line>"'], stdin=True, tty=True)
    with hijacked(engine.api.exec_start(job["Id"], socket=True, tty=True)) as sock:
        engine.api.exec_resize(job["Id"], 24, 80)
        sock.sendall(b"typed\n")
        heard = b"".join(iter(lambda: sock.recv(4096), b""))
    assert heard == b"typed\r\n<typed>\r\n"


def test_logs_are_followed_as_they_are_written(shell: Callable[..., Container]) -> None:
    container = shell("echo first; read line; echo second", stdin_open=True)
    container.start()
    lines = container.logs(stream=True, follow=True)
    assert next(lines) == b"first\n"
    with hijacked(container.attach_socket(params={"stdin": 1, "stream": 1})) as sock:
        sock.sendall(b"go\n")
        assert list(lines) == [b"second\n"]


def test_an_image_is_built_with_its_steps_told(engine: docker.DockerClient, image: str) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in (("Dockerfile", f"FROM {image}\nCOPY much /\nRUN sha256sum /much".encode()), ("much", MUCH)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    context.seek(0)
    built, steps = engine.images.build(fileobj=context, custom_context=True, rm=True, forcerm=True, timeout=SECONDS * 4)
    engine.images.remove(built.id, force=True)
    assert hashlib.sha256(MUCH).hexdigest() in "".join(step.get("stream", "") for step in steps)


def members(archive: Path) -> dict[str, str]:
    """The hash of each file in a saved image. The archives themselves differ in times, from Docker 25 on."""
    with tarfile.open(archive) as tar:
        files = ((entry.name, tar.extractfile(entry)) for entry in tar)
        return {name: hashlib.file_digest(file, "sha256").hexdigest() for name, file in files if file}


def test_an_image_is_the_same_through_the_proxy(
    engine: docker.DockerClient, raw_engine: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    saved = []
    for number, client in enumerate((engine, raw_engine)):
        archive = tmp_path / f"{number}.tar"
        with archive.open("wb") as file:
            for piece in client.images.get(image).save():
                file.write(piece)
        saved.append(members(archive))
    assert saved[0] == saved[1]
    with archive.open("rb") as file:
        assert [loaded.id for loaded in engine.images.load(file)] == [engine.images.get(image).id]


def test_files_are_put_and_got(shell: Callable[..., Container]) -> None:
    container, archive = shell("true"), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("much")
        entry.size = len(MUCH)
        tar.addfile(entry, io.BytesIO(MUCH))
    assert container.put_archive("/tmp", archive.getvalue())
    pieces, _ = container.get_archive("/tmp/much")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        got = tar.extractfile("much")
        assert got
        assert got.read() == MUCH


def test_events_come_while_they_are_listened_for(engine: docker.DockerClient, shell: Callable[..., Container]) -> None:
    events = engine.events(decode=True, filters={"type": "container", "event": ["start", "die"]})
    container = shell("true")
    threading.Timer(0.2, container.start).start()
    assert [next(events)["Action"] for _ in range(2)] == ["start", "die"]
    events.close()


def test_a_wait_lasts_as_long_as_the_container(shell: Callable[..., Container]) -> None:
    container = shell("sleep 1; exit 7")
    container.start()
    assert container.wait(timeout=SECONDS)["StatusCode"] == 7


def test_a_client_too_new_reads_the_engine_s_own_refusal(run_dir: Path) -> None:
    with pytest.raises(docker.errors.APIError, match=r"client version 1\.99 is too new"):
        docker.DockerClient(base_url=f"unix://{run_dir}/docker.sock", version="1.99").info()


def test_a_follower_that_leaves_is_left_by_the_engine(
    engine: docker.DockerClient, shell: Callable[..., Container], in_engine: Callable[[str], str]
) -> None:
    def descriptors() -> int:
        return int(in_engine("sh -c 'ls /proc/$(pidof dockerd)/fd | wc -l'"))

    container = shell("sleep 60")
    container.start()
    before = descriptors()
    followers = [container.logs(stream=True, follow=True) for _ in range(20)]
    assert descriptors() >= before + 20
    for follower in followers:
        follower.close()
    end = time.monotonic() + SECONDS
    while descriptors() > before + 2:
        assert time.monotonic() < end, "the engine still serves followers that left"
        time.sleep(0.2)


PING = b"/_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
MIB = 1 << 20
HEADS = {
    "field": (b"GET " + PING + b"X-Registry-Config: " + b"a" * MIB + b"\r\n\r\n", 200),
    "field, too long": (b"GET " + PING + b"X-Registry-Config: " + b"a" * (MIB + 4200) + b"\r\n\r\n", 431),
    "target": (b"GET /_ping?" + b"a" * 600_000 + PING.removeprefix(b"/_ping") + b"\r\n", 200),
}


@pytest.fixture(params=["engine.sock", "docker.sock"])
def status_of(request: pytest.FixtureRequest, run_dir: Path) -> Callable[[bytes], int]:
    """Sends a request's head, and returns the status of the answer."""

    def send(head: bytes) -> int:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(str(run_dir / request.param))
            with contextlib.suppress(BrokenPipeError):  # answered before all of it was read
                client.sendall(head)
            return int(client.recv(100).split()[1])

    return send


@pytest.mark.parametrize("name", HEADS)
def test_a_long_head_is_taken_as_far_as_the_engine_takes_it(status_of: Callable[[bytes], int], name: str) -> None:
    head, status = HEADS[name]
    assert status_of(head) == status


def test_as_many_fields_are_taken_as_the_engine_takes(
    status_of: Callable[[bytes], int], versions: dict[str, str]
) -> None:
    assert status_of(b"GET " + PING + b"a:b\r\n" * int(versions["head_fields"]) + b"\r\n") == 200
