from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket

import pytest

from portchain.host.docker_api.exchange import Exchange, Limits
from portchain.http.body import ProtocolError
from support.http_messages import answers
from support.http_parties import CLOSING, GET, LAST, OK, Peer, in_loop, obliging, scene, silent


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


@pytest.mark.parametrize("first", [OK + b"HTTP/1.1 200 stale", b"nonsense\r\n\r\n", CLOSING])
@in_loop
async def test_a_connection_in_an_unclear_state_is_not_used_again(first):
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(first if stage.connections == 1 else OK)
        await peer.rest()

    async def twice(exchange: Exchange) -> None:
        with contextlib.suppress(ProtocolError):
            await exchange.ask()
        await exchange.answer(await exchange.ask())

    async with scene(engine, {"/twice": twice}) as stage:
        client = await stage.client()
        await client.put(b"GET /twice HTTP/1.1\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
        assert stage.connections == 2


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
        before = -1
        while not sent or before < sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 4 * 1024 * 1024


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
async def test_clients_wait_while_there_are_no_descriptors_and_while_others_have_all_places():
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with scene(obliging, limits=Limits(clients=1, retry_seconds=0.05)) as stage:
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(stage.path)
            early.sendall(GET)
            next_free = os.dup(0)
            os.close(next_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, descriptors[1]))
            await asyncio.sleep(0.1)
            assert stage.connections == 0
            resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
            late = await stage.client()
            await late.put(LAST)
            await asyncio.sleep(0.1)
            assert stage.connections == 1
        assert await late.rest()
