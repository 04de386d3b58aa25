"""What becomes of requests where ports are concerned."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from portchain.host.docker_api.bind_sides import BindChecker
from portchain.host.docker_api.engine_client import EngineClient
from portchain.host.docker_api.publications import ContainerPublication
from portchain.host.docker_api.published_ports import PublishedPorts
from portchain.host.docker_api.records import Record, Records
from portchain.host.docker_api.request_rules import RequestRules
from portchain.host.forwarder.table import ForwardTable
from portchain.ports.bind_policy import Policy
from portchain.ports.forward import Endpoint
from support.http_parties import Peer, in_loop, scene

CREATE = {"Image": "x", "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}}}


def request(create: dict[str, Any]) -> bytes:
    body = json.dumps(create).encode()
    return b"POST /containers/create HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def check(_document: object) -> None:
    """All may start."""


@in_loop
async def test_containers_that_are_created_together_get_places_of_their_own(tmp_path: Path):
    given: list[str] = []

    async def engine(peer: Peer) -> None:
        head = await peer.head()
        length = next(int(line.split()[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        create = json.loads(await peer.get(length))
        given.extend(one["HostPort"] for one in create["HostConfig"]["PortBindings"]["80/tcp"])
        answer = json.dumps({"Id": str(len(given)) * 64}).encode()
        await peer.put(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    async def taken() -> list[Any]:
        await asyncio.sleep(0.01)
        return []

    asked = EngineClient(str(tmp_path / "unused"))
    table = ForwardTable(os.getuid(), lambda _name: None)
    ports = PublishedPorts(table, asked.inspect, Policy(), Records(tmp_path / "ports.json"))
    handler = RequestRules(ports, asked, taken, check).route("POST", "/containers/create")
    assert handler
    async with scene(engine, {"/containers/create": handler}) as stage:
        await asyncio.gather(*(stage.ask(request(CREATE)) for _ in range(5)))
    assert sorted(given) == ["55000", "55001", "55002", "55003", "55004"]
    assert sorted(one.guest.port for one in ports.publications()) == [55000, 55001, 55002, 55003, 55004]


ODD = [
    b"[]",
    b'{"HostConfig": [1]}',
    b'{"HostConfig": {"Binds": 7}}',
    b'{"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}}',
    b'{"Labels": ["io.portchain.proxy-protocol/80/tcp"], "HostConfig": {"PortBindings": {"80/tcp": [{}]}}}',
    b'{"Labels": NaN}',
]


@pytest.mark.parametrize("body", ODD)
@in_loop
async def test_a_create_that_the_engine_refuses_reaches_it_as_it_is(tmp_path: Path, body: bytes):
    async def engine(peer: Peer) -> None:
        await peer.head()
        assert await peer.get(len(body)) == body
        await peer.put(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    asked = EngineClient(str(tmp_path / "unused"))
    table = ForwardTable(os.getuid(), lambda _name: None)
    ports = PublishedPorts(table, asked.inspect, Policy(), Records(tmp_path / "ports.json"))
    binds = BindChecker(tmp_path, tmp_path, str(tmp_path / "unused"))

    async def taken() -> list[Any]:
        return []

    handler = RequestRules(ports, asked, taken, binds.check_binds).route("POST", "/containers/create")
    assert handler
    head = b"POST /containers/create HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with scene(engine, {"/containers/create": handler}) as stage:
        assert b" 400 " in await stage.ask(head + body)


def answer(value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    ("state", "refused", "condition", "status"),
    [
        ("created", "no", "", 128),
        ("exited", "no", "?condition=not-running", 128),
        ("created", "no", "?condition=next-exit", 0),
        ("running", "no", "", 0),
        ("created", "", "", 0),
    ],
)
@in_loop
async def test_who_waits_for_a_container_whose_start_was_refused_is_told_of_that(
    tmp_path: Path, state: str, refused: str, condition: str, status: int
):
    async def engine(peer: Peer) -> None:
        document = {"Id": "1", "Name": "/x", "State": {"Status": state}}
        waits = (await peer.head()).startswith(b"POST")
        await peer.put(answer({"StatusCode": 0} if waits else document))

    async def taken() -> list[Any]:
        return []

    route: dict[str, Any] = {}
    async with scene(engine, route) as stage:
        asked, records = EngineClient(str(stage.engine_path)), Records(tmp_path / "ports.json")
        records.put("1", Record(refused=refused))
        ports = PublishedPorts(ForwardTable(os.getuid(), lambda _name: None), asked.inspect, Policy(), records)
        route["/containers/x/wait"] = RequestRules(ports, asked, taken, check).route("POST", "/containers/x/wait")
        told = await stage.ask(b"POST /containers/x/wait%b HTTP/1.1\r\nConnection: close\r\n\r\n" % condition.encode())
        assert json.loads(told.rpartition(b"\r\n\r\n")[2]) == {"StatusCode": status}
        await ports.close()


@in_loop
async def test_only_clients_on_the_host_read_who_has_a_port(tmp_path: Path):
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(answer({"Id": "1", "Name": "/x", "State": {"Status": "created"}}))

    async def taken() -> list[Any]:
        return []

    route: dict[str, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        publication = ContainerPublication.of("80/tcp", "127.0.0.1", str(port), Endpoint.parse("tcp:127.0.0.1:55000"))
        assert publication
        async with scene(engine, route) as stage:
            asked, records = EngineClient(str(stage.engine_path)), Records(tmp_path / "ports.json")
            records.put("1", Record((publication,)))
            table = ForwardTable(os.getuid(), lambda _name: None)
            ports = PublishedPorts(table, asked.inspect, Policy(), records)
            told = {}
            for in_guest in (False, True):
                rules = RequestRules(ports, asked, taken, check, in_guest)
                for method, path in (("POST", "/containers/x/start"), ("GET", "/containers/x/json")):
                    route[path] = rules.route(method, path)
                    request = f"{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    told[in_guest, method] = (await stage.ask(request.encode())).decode()
            await ports.close()
    for (in_guest, _), text in told.items():
        assert f"listen tcp 127.0.0.1:{port}: bind: address already in use" in text
        assert (f"(pid {os.getpid()})" in text) == (not in_guest), text
