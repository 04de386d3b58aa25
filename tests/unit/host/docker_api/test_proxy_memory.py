"""Memory and time that the proxy gives to its clients and to the engine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from portchain.host.docker_api.exchange import Exchange, Limits
from portchain.http.body import ProtocolError
from portchain.http.budget import ByteBudget, Hold
from support.http_parties import CLOSING, LAST, Peer, in_loop, message, obliging, scene, silent

POST = b"POST /x HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


async def asking(exchange: Exchange) -> None:
    await exchange.answer(await exchange.ask())


def test_a_budget_gives_each_its_own_and_all_what_is_left():
    budget = ByteBudget(each=10, shared=100)
    with budget.hold() as first, budget.hold() as second:
        first.take("a head", 60)
        second.take("a head", 10)
        with pytest.raises(ProtocolError) as refused:
            second.take("a body", 51)
        assert refused.value.status == 503
        second.take("a body", 50)
        first.take("a head", 0)
        second.take("a body", 100)
    assert budget.free == 100


def test_what_a_hold_releases_twice_is_given_back_once():
    budget = ByteBudget(each=0, shared=100)
    hold = Hold(budget)
    hold.take("a buffer", 30)
    hold.release()
    hold.release()
    assert budget.free == 100


@in_loop
async def test_bodies_of_many_clients_take_bounded_memory():
    limits = Limits(memory_each=1000, memory_shared=500_000)
    async with scene(obliging, {"/x": asking}, limits) as stage:
        first = await stage.client()
        await first.put(POST % 100_000 + bytes(99_999))
        while stage.proxy._shared.memory.free > 200_000:
            await asyncio.sleep(0.001)
        status, text = message(await stage.ask(POST % 100_000 + bytes(100_000)))
        assert (status, "no memory left for the request's body" in text) == (503, True)
        assert await stage.ask(LAST)
        assert b" 200 " in await stage.ask(POST % 100 + bytes(100))
        assert b" 200 " in await first.ask(b"!")
        assert b" 200 " in await stage.ask(POST % 100_000 + bytes(100_000))
    assert stage.proxy._shared.memory.free == 500_000


@in_loop
async def test_answers_that_are_read_whole_take_of_the_same_memory():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))

    async with scene(engine, {"/x": asking}, Limits(memory_each=1000, memory_shared=300_000)) as stage:
        status, text = message(await stage.ask(POST % 0))
        assert (status, "no memory left for the answer's body" in text) == (503, True)


@in_loop
async def test_a_body_has_to_go_on():
    async with scene(silent, {"/x": asking}, Limits(body_seconds=0.1)) as stage:
        client = await stage.client()
        status, text = message(await client.ask(POST % 100 + b"abc"))
        assert (status, "does not go on for 0.1 s" in text) == (408, True)
        assert stage.connections == 0


@in_loop
async def test_a_body_that_goes_on_may_take_longer():
    async with scene(obliging, {"/x": asking}, Limits(body_seconds=1.0)) as stage:
        client = await stage.client()
        await client.put(POST % (5 * 65_536))
        for _ in range(5):
            await asyncio.sleep(0.3)
            await client.put(bytes(65_536))
        assert b" 200 " in await client.rest()


@in_loop
async def test_an_engine_s_answer_that_is_read_whole_has_to_go_on():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
        await peer.rest()

    async with scene(engine, {"/x": asking}, Limits(body_seconds=0.1)) as stage:
        assert message(await stage.ask(POST % 0))[0] == 504


@in_loop
async def test_what_is_passed_on_as_it_comes_has_all_the_time():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.get(4)
        await peer.put(CLOSING)

    async with scene(engine, limits=Limits(body_seconds=0.05)) as stage:
        client = await stage.client()
        await client.put(POST % 4)
        for _ in range(4):
            await asyncio.sleep(0.1)
            await client.put(b"x")
        assert await client.rest() == CLOSING


@in_loop
async def test_a_client_that_does_not_read_its_answer_loses_it():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000))

    async with scene(engine, {"/x": asking}, Limits(body_seconds=0.2)) as stage:
        client = await stage.client()
        client.reader._transport.pause_reading()
        await client.put(POST % 0)
        await asyncio.sleep(0.1)
        while stage.proxy._shared.memory.free < Limits().memory_shared:
            await asyncio.sleep(0.05)
        client.reader._transport.resume_reading()
        assert len(await client.rest()) < 8_000_000


@in_loop
async def test_large_buffers_of_many_connections_take_bounded_memory():
    async with scene(silent, limits=Limits(buffers=300 * 1024)) as stage:
        clients = [await stage.client() for _ in range(5)]
        for client in clients:
            await client.put(POST % 10_000_000 + bytes(200_000))
        while stage.proxy._shared.buffers.free != 44 * 1024:
            await asyncio.sleep(0.001)
        for client in clients:
            client.close()
        while stage.proxy._shared.buffers.free < 300 * 1024:
            await asyncio.sleep(0.001)


@in_loop
async def test_an_exchange_whose_client_went_away_leaves_no_garbage():
    exchanges: list[weakref.ref[Exchange]] = []

    async def handler(exchange: Exchange) -> None:
        exchanges.append(weakref.ref(exchange))
        with contextlib.suppress(ValueError):
            exchange.parse(await exchange.body())
        await exchange.ask()

    gc.disable()
    try:
        async with scene(silent, {"/x": handler}) as stage:
            client = await stage.client()
            await client.put(POST % 3 + b"abc")
            while not stage.connections:
                await asyncio.sleep(0.001)
            client.close()
            while len(asyncio.all_tasks()) > 2:
                await asyncio.sleep(0.001)
            assert [one() for one in exchanges] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("target", [b"/" + b"x" * 20_000, b"/containers/" + b"%41" * 10_000 + b"/json"])
@in_loop
async def test_a_path_without_end_is_refused(target):
    async with scene(obliging) as stage:
        status, text = message(await stage.ask(b"GET %b HTTP/1.1\r\n\r\n" % target))
        assert (status, "a path has at most" in text) == (414, True)
