from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket

import pytest

from portchain.engine import proxy as proxy_module

from .messages import answers
from .parties import CLOSING, GET, LAST, OK, Peer, in_loop, message, obliging, scene, silent


@in_loop
async def test_pipelined_requests_are_answered_in_their_order_over_one_connection():
    async with scene(obliging) as stage:
        wire = b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(50))
        answer = await stage.ask(wire + LAST)
        assert [content for _, content, _ in answers([answer])] == [
            *(b"/%d" % number for number in range(50)),
            b"/_ping",
        ]
        assert stage.connections == 1


@in_loop
async def test_an_engine_that_closed_an_idle_connection_is_dialled_again():
    async def once(peer: Peer) -> None:
        await peer.head()
        await peer.put(OK)

    async with scene(once) as stage:
        client = await stage.client()
        for number in range(1, 6):
            await client.put(GET)
            assert await client.get(len(OK)) == OK
            assert stage.connections == number
            await asyncio.sleep(0.01)


@in_loop
async def test_an_answer_may_begin_before_the_request_ends():
    async def echo(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await peer.put(await peer.get(8))
        await peer.put(await peer.get(5))
        await peer.rest()

    async with scene(echo) as stage:
        client = await stage.client()
        await client.put(b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert await client.head()
        for _ in range(3):
            await client.put(b"3\r\nabc\r\n")
            assert await client.get(8) == b"3\r\nabc\r\n"
        await client.put(b"0\r\n\r\n")
        assert await client.get(5) == b"0\r\n\r\n"


@in_loop
async def test_interim_answers_reach_the_client():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.get(5) == b"hello"
        await peer.put(b"HTTP/1.1 103 Early Hints\r\n\r\n" + CLOSING)

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await client.ask(b"hello") == b"HTTP/1.1 103 Early Hints\r\n\r\n" + CLOSING


@in_loop
async def test_an_engine_that_answers_without_reading_the_body_is_heard():
    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.put(CLOSING)

    async with scene(early) as stage:
        client = await stage.client()
        await client.put(b"POST /build HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await client.put(bytes(100_000))
        assert await client.rest() == CLOSING


@in_loop
async def test_a_slow_reader_holds_up_its_sender():
    sent = 0

    async def firehose(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.put(bytes(65536))
            sent += 65536

    async with scene(firehose) as stage:
        client = await stage.client()
        client.reader._transport.pause_reading()
        await client.put(b"GET /images/get HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.2)
        before = sent
        await asyncio.sleep(0.2)
        assert sent == before < 4 * 1024 * 1024


@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@in_loop
async def test_a_client_that_goes_away_ends_the_engine_s_connection(half_closed, begun):
    gone = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        await peer.head()
        if begun:
            await peer.put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert await peer.rest() == b""
        gone.set()

    async with scene(waiting) as stage:
        client = await stage.client()
        await client.put(b"GET /events HTTP/1.1\r\n\r\n")
        if begun:
            await client.head()
        if half_closed:
            client.end()
        await asyncio.sleep(0.05)
        assert not gone.is_set()
        client.close()
        await asyncio.wait_for(gone.wait(), 1)


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
async def test_many_clients_at_once_leave_nothing_behind():
    async with scene(obliging) as stage:
        everyone = await asyncio.gather(*(stage.ask(GET * 3 + LAST) for _ in range(100)))
        assert {answer.count(b"\r\n\r\n/_ping") for answer in everyone} == {4}


@in_loop
async def test_closing_the_proxy_ends_whatever_goes_on():
    async with scene(silent) as stage:
        clients = [await stage.client() for _ in range(3)]
        await clients[0].put(GET)
        await clients[1].put(b"GET /")
        await asyncio.sleep(0.05)
        await stage.proxy.close()
        for client in clients:
            with contextlib.suppress(ConnectionError):
                assert await client.rest() == b""


@in_loop
async def test_clients_wait_while_there_are_no_descriptors_and_while_others_have_all_places(monkeypatch):
    monkeypatch.setattr(proxy_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(proxy_module, "MAX_CLIENTS", 1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with scene(obliging) as stage:
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(stage.path)
            early.sendall(GET)
            next_free = os.dup(0)
            os.close(next_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, limits[1]))
            await asyncio.sleep(0.1)
            assert stage.connections == 0
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            late = await stage.client()
            await late.put(LAST)
            await asyncio.sleep(0.1)
            assert stage.connections == 1
        assert await late.rest()
