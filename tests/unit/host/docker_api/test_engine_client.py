from __future__ import annotations

import asyncio
import json

import pytest

from portchain.host.docker_api import engine_client
from portchain.http import asyncio_client
from support.http_parties import Peer, in_loop, scene

JSON = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'


def saying(data: bytes, stays: bool = False):
    """Plays an engine that says so much, and leaves, or stays for as long as its client."""

    async def engine(peer: Peer) -> None:
        engine.heard = await peer.head()  # type: ignore[attr-defined]
        await peer.put(data)
        if stays:
            await peer.rest()

    return engine


@in_loop
async def test_json_is_asked_for():
    engine = saying(b"HTTP/1.1 103 Early Hints\r\n\r\n" + JSON)
    async with scene(engine) as stage:
        assert await asyncio_client.get_json(stage.engine_path, "/info") == {"a": 1}
        assert engine.heard.startswith(b"GET /info HTTP/1.1\r\n")


@in_loop
async def test_a_request_has_its_body_and_any_status():
    async def engine(peer: Peer) -> None:
        assert b"Content-Length: 2\r\n" in await peer.head()
        assert await peer.get(2) == b"{}"
        await peer.put(b"HTTP/1.1 304 Not Modified\r\n\r\n")

    async with scene(engine) as stage:
        assert (await asyncio_client.request(stage.engine_path, "POST", "/x", b"{}")).status == 304


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "closed before it answered"),
        (b"nonsense\n\n", "version 'nonsense'"),
        (JSON[:-1], "middle of a body"),
        (JSON[:-2] + b"!\n", "Expecting value"),
        (b'HTTP/1.1 404 Not Found\r\n\r\n{"message": "no such thing"}', "404 no such thing"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 19_000 + b"\n", "nested too deeply"),
        (b"HTTP/1.1 500 Oh\r\n\r\nplain", "500 plain"),
    ],
)
@in_loop
async def test_what_goes_wrong_is_an_oserror_that_says_where(data, told):
    async with scene(saying(data)) as stage:
        for asking in (asyncio_client.get_json(stage.engine_path, "/events"), subscribe(stage.engine_path)):
            with pytest.raises(OSError, match=rf"engine.sock: GET /events: .*{told}"):
                await asking


async def subscribe(path: str) -> None:
    async with engine_client.events(path, {}) as stream:
        async for _ in stream:
            raise AssertionError


@in_loop
async def test_an_answer_is_waited_for_only_so_long():
    async with scene(saying(JSON[:-1], stays=True)) as stage:
        with pytest.raises(TimeoutError, match="GET /info"):
            await asyncio_client.get_json(stage.engine_path, "/info", 0.05)
    async with scene(saying(b"", stays=True)) as stage:
        with pytest.raises(TimeoutError, match="GET /events"):
            async with engine_client.events(stage.engine_path, {}, 0.05):
                raise AssertionError


@in_loop
async def test_an_engine_that_is_not_there_is_said_to_be():
    with pytest.raises(OSError, match=r"/nowhere: GET /info: .*No such file"):
        await asyncio_client.get_json("/nowhere", "/info")


@in_loop
async def test_events_come_as_they_happen():
    subscribed = asyncio.Event()

    async def engine(peer: Peer) -> None:
        assert b"filters=%7B%22type%22%3A+%5B%22container%22%5D%7D " in await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await subscribed.wait()
        await peer.put(b'9\r\n{"id": 1}\r\n4\r\n\n{"i\r\n')
        await asyncio.sleep(0.15)
        await peer.put(b'7\r\nd": 2}\n\r\nb\r\n\n{"id": 3}\n\r\n')

    async with scene(engine) as stage:
        with pytest.raises(OSError, match="the stream ended"):
            async with engine_client.events(stage.engine_path, {"type": ["container"]}, 0.1) as stream:
                subscribed.set()
                assert [(await anext(stream))["id"] for _ in range(3)] == [1, 2, 3]
                await anext(stream)


@in_loop
async def test_an_event_without_end_is_refused():
    engine = saying(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 101, stays=True)
    async with scene(engine) as stage, engine_client.events(stage.engine_path, {}, max_event=100) as stream:
        with pytest.raises(OSError, match="an event has more than 100 bytes"):
            await anext(stream)


@in_loop
async def test_errors_of_whoever_follows_the_events_are_left_alone():
    async with scene(saying(b"HTTP/1.1 200 OK\r\n\r\n", stays=True)) as stage:
        with pytest.raises(ValueError, match=r"^mine$"):
            async with engine_client.events(stage.engine_path, {}):
                raise ValueError("mine")


def networks(**known: dict[str, object]):
    """Plays an engine that has these networks."""

    async def engine(peer: Peer) -> None:
        name = (await peer.head()).split()[1].rpartition(b"/")[2].decode()
        body = json.dumps(known.get(name, {"message": "no such network"})).encode()
        status = b"200 OK" if name in known else b"404 Not Found"
        await peer.put(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    return engine


@pytest.mark.parametrize(
    ("names", "publishes"),
    [
        (["bridge"], True),
        (["inside"], False),
        (["inside", "bridge"], True),
        (["inside", "none", "host", "lan"], False),
        ([], True),
        (["gone"], True),
    ],
)
@in_loop
async def test_whether_ports_can_be_led_to_a_container(names: list[str], publishes: bool) -> None:
    known = {"bridge": "bridge", "none": "null", "host": "host", "lan": "macvlan"}
    drivers = {name: {"Driver": driver, "Internal": False} for name, driver in known.items()}
    async with scene(networks(**drivers, inside={"Driver": "bridge", "Internal": True})) as stage:
        container = {"NetworkSettings": {"Networks": {name: {} for name in names}}}
        assert await engine_client.EngineClient(str(stage.engine_path)).publishes(container) is publishes
