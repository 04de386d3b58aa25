"""An engine that answers anything: each answer is an error of one exchange, and nothing ends or fills the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path

import pytest

from portchain.host.docker_api import docker_socket, engine_client
from portchain.host.docker_api.containers import MAX_FOREIGN, EngineContainer
from portchain.host.docker_api.engine_client import EngineClient
from portchain.host.docker_api.reconcile import MAX_CHANGES, Reconciler
from portchain.host.docker_api.records import Record
from portchain.host.docker_api.seldom_log import SeldomLog
from portchain.host.forwarder.table import ForwardTable
from portchain.net.listening import open_unix_listener
from portchain.ports.bind_policy import Policy
from support.http_parties import Peer, in_loop, scene

ODD = [
    *(b"null", b"7", b'"x"', b"[1]", b"[[]]", b"{}", b'[{"Id": 1}]', b'{"Id": null}', b"NaN", b'{"Id": 1e999}'),
    *(b'[{"Id": "a", "State": []}]', b'{"Id": "a"}', b'{"Id": "a", "Name": 1, "State": 3}', b"9" * 5000),
    b'{"Id": "a", "Name": "a", "State": {"Status": "running"}, "NetworkSettings": {"Ports": {"80/tcp": [{}]}}}',
    b'{"Id": "a", "Name": "a", "State": {"Status": "running"}, "NetworkSettings": {"Ports": {"\\ud800": 1}}}',
    b'{"Id": "a", "Name": "a", "HostConfig": [], "NetworkSettings": []}',
    b"[" * 50_000,
    b"[" + b"[]," * 300_000 + b"[]]",
]


def saying(body: bytes):
    """Plays an engine that answers everything so."""

    async def engine(peer: Peer) -> None:
        while head := await peer.head():
            if b"Content-Length: " in head:
                await peer.get(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
            await peer.put(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b\n" % (len(body) + 1, body))

    return engine


REQUESTS = [
    b"GET /containers/json",
    b"GET /containers/a/json",
    b"GET /system/df",
    b"POST /containers/a/start",
    b"POST /containers/a/wait",
    b"POST /containers/create",
]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
@in_loop
async def test_clients_are_served_and_the_log_stays_short(
    tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await saying(body)(Peer(reader, writer))
        writer.close()

    options = docker_socket.EngineOptions("g", tmp_path, tmp_path, tmp_path / "ports.json", Policy())
    engines = [await asyncio.start_unix_server(play, path) for path in (options.socket, options.lifecycle_socket)]
    with (
        open_unix_listener(tmp_path / "docker.sock", os.getuid()) as on_host,
        open_unix_listener(tmp_path / "guests.sock", os.getuid()) as in_guest,
    ):
        service = docker_socket.EngineService(options, ForwardTable(os.getuid(), lambda _: None), on_host, in_guest)
        for request in REQUESTS:
            service.ports.changed("a")
            client = Peer(*await asyncio.open_unix_connection(tmp_path / "docker.sock"))
            wire = request + b" HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
            answer = await client.ask(wire)
            assert answer.startswith(b"HTTP/1.1 ")
            assert not answer.startswith(b"HTTP/1.1 500"), "an engine that lies is no error of the host's"
            client.close()
        assert not any(task.done() for task in service._tasks)
        await service.close()
    for engine in engines:
        engine.close()
    await asyncio.sleep(0.01)
    assert len([record for record in caplog.records if record.levelno > logging.DEBUG]) < 10


@in_loop
async def test_names_of_containers_are_bounded_in_number():
    async def never(_name: str) -> bool:
        await asyncio.Event().wait()
        return True

    reconciler = Reconciler(never)
    for number in range(MAX_CHANGES + 1000):
        reconciler.changed(str(number))
    assert len(reconciler._changes) == MAX_CHANGES
    await reconciler.close()


@in_loop
async def test_events_of_single_bytes_leave_the_loop_to_others():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.put(b" ")

    async with scene(engine) as stage, engine_client.events(stage.engine_path, {}, max_event=100_000) as stream:
        with pytest.raises(OSError, match="an event has more than"):
            await anext(stream)


def test_a_million_ports_of_one_container_are_read_at_once():
    ports = {f"{port}/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}] for port in range(1, 20_000)}
    document = {
        "Id": "a",
        "Name": "/a",
        "State": {"Status": "running"},
        "HostConfig": {"PortBindings": {f"{port}/tcp": [{"HostPort": str(port)}] for port in range(1, 20_000)}},
        "NetworkSettings": {"Ports": ports},
    }
    assert len(EngineContainer.read(document, Record()).live) == MAX_FOREIGN


def test_what_happens_often_is_logged_seldom(caplog: pytest.LogCaptureFixture):
    now = [0.0]
    seldom = SeldomLog(logging.getLogger("seldom"), 60, lambda: now[0])
    for _ in range(100):
        seldom.warning("odd: %s", "x")
    now[0] = 61
    seldom.warning("odd: %s", "y")
    assert [record.getMessage() for record in caplog.records] == [
        "odd: x",
        "odd: y (99 more such messages before)",
    ]


@in_loop
async def test_no_more_networks_are_asked_for_than_a_container_has():
    asked = []

    async def engine(peer: Peer) -> None:
        while head := await peer.head():
            asked.append(head)
            body = json.dumps({"Internal": True, "Driver": "bridge"}).encode()
            await peer.put(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with scene(engine) as stage:
        container = {"NetworkSettings": {"Networks": {str(number): {} for number in range(10_000)}}}
        assert not await EngineClient(stage.engine_path).publishes(container)
    assert len(asked) == engine_client.MAX_NETWORKS
