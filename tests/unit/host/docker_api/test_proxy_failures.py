from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from portchain.host.docker_api.exchange import Limits
from portchain.http.body import Length
from portchain.http.message_streams import Stream, collect
from portchain.http.messages import MAX_FIELDS, MAX_HEAD
from support.http_parties import CLOSING, GET, LAST, Peer, in_loop, message, obliging, scene, silent


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
        (b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_HEAD, 431),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
@in_loop
async def test_what_is_not_http_is_refused(wire, status):
    async with scene(silent) as stage:
        assert message(await stage.ask(wire))[0] == status


LONG = [
    (b"GET /_ping HTTP/1.1", b"X-Registry-Config: " + b"x" * 1_000_000 + b"\r\n"),
    (b"GET /_ping HTTP/1.1", b"A: b\r\n" * (MAX_FIELDS - 1)),
    (b"GET /_ping?" + b"x" * 1_000_000 + b" HTTP/1.1", b""),
]


@pytest.mark.parametrize(("line", "fields"), LONG, ids=["field", "fields", "target"])
@in_loop
async def test_a_head_as_long_as_the_engine_takes_it_is_passed_on(line, fields):
    heads = []

    async def engine(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.put(CLOSING)

    head = line + b"\r\n" + fields + b"Connection: close\r\n\r\n"
    async with scene(engine) as stage:
        assert await stage.ask(head) == CLOSING
    assert heads == [head]


@in_loop
async def test_an_answer_with_a_long_head_is_passed_on():
    answer = CLOSING.replace(b"\r\n", b"\r\nX-Stat: " + b"x" * 1_000_000 + b"\r\n", 1)

    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(answer)

    async with scene(engine) as stage:
        assert await stage.ask(LAST) == answer


@in_loop
async def test_long_heads_of_many_clients_take_bounded_memory():
    long = b"GET / HTTP/1.1\r\nConnection: close\r\nA: " + b"x" * 200_000 + b"\r\n\r\n"
    arrived, release = asyncio.Event(), asyncio.Event()

    async def engine(peer: Peer) -> None:
        if len(await peer.head()) > 1000:
            arrived.set()
            await release.wait()
        await peer.put(CLOSING)

    async with scene(engine, limits=Limits(memory_shared=150_000)) as stage:
        first = await stage.client()
        await first.put(long)
        await arrived.wait()
        status, text = message(await stage.ask(long))
        assert (status, "a long head" in text) == (503, True)
        release.set()
        assert await first.rest() == CLOSING
        assert await stage.ask(long) == CLOSING


@in_loop
async def test_what_comes_with_a_head_is_not_of_its_length():
    head, body, held = GET, bytes(100_000), []
    near, far = socket.socketpair()
    with far, contextlib.closing(Stream(near, "client")) as stream:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for _ in range(2):  # the second time the buffer is large
            far.sendall(head + body)
            assert await stream.read_head(400, hold=held.append) == head
            assert await collect(stream, Length(len(body)), len(body)) == body
    assert held == [len(head)] * 2


@in_loop
async def test_a_head_is_waited_for_only_so_long():
    async with scene(obliging, limits=Limits(head_seconds=0.1)) as stage:
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
