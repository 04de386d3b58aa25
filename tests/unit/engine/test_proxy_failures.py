from __future__ import annotations

import asyncio
import json

import pytest

from portchain.engine import proxy as proxy_module

from .parties import CLOSING, GET, LAST, Peer, in_loop, message, obliging, scene, silent


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    ],
)
@in_loop
async def test_an_engine_gone_in_the_middle_is_no_orderly_end(begun):
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(begun)

    async with scene(engine) as stage:
        assert await stage.ask(GET) == begun


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\n", b"nonsense\n", b"\x00"])
@in_loop
async def test_an_engine_gone_before_its_answer_is_an_error_in_docker_s_form(said):
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(said)

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(GET + LAST)
        for _ in range(2):
            interim = await client.head() if b"100" in said else b""
            assert interim in (b"", said)
            head = await client.head()
            assert head.split()[1] in (b"502", b"503")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            assert json.loads(await client.get(length))["message"]
        assert await client.rest() == b""
        assert stage.connections == 2


@in_loop
async def test_an_engine_that_is_not_there_is_an_error_in_docker_s_form():
    async with scene(obliging) as stage:
        stage.engine_path += "-gone"
        status, text = message(await stage.ask(LAST))
        assert (status, "No such file" in text) == (503, True)


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70000, 431),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
@in_loop
async def test_what_is_not_http_is_refused(wire, status):
    async with scene(silent) as stage:
        assert message(await stage.ask(wire))[0] == status


@in_loop
async def test_a_head_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(proxy_module, "HEAD_SECONDS", 0.1)
    async with scene(obliging) as stage:
        idle = await stage.client()
        assert message(await stage.ask(b"GET / HT"))[0] == 408
        assert await idle.ask(LAST)


@in_loop
async def test_a_request_cut_short_is_cut_short_at_the_engine():
    heard = []

    async def engine(peer: Peer) -> None:
        await peer.head()
        heard.append(await peer.rest())
        await peer.put(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(b"POST /build HTTP/1.1\r\nContent-Length: 10\r\n\r\nhello")
        client.end()
        assert (await client.rest()).startswith(b"HTTP/1.1 400")
        assert heard == [b"hello"]


@in_loop
async def test_a_body_that_turns_out_broken_is_refused_while_the_engine_waits_for_it():
    async with scene(silent) as stage:
        client = await stage.client()
        await client.put(b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await asyncio.sleep(0.05)
        assert message(await client.ask(b"zz\r\n"))[0] == 400


@in_loop
async def test_a_body_nobody_waits_for_any_more_holds_up_nothing():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(CLOSING)

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(b"POST /build HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
        assert await asyncio.wait_for(client.rest(), 2) == CLOSING
