from __future__ import annotations

import asyncio
import os
import select
import socket

import pytest

from portchain.host.docker_api.exchange import Limits
from support.http_parties import Peer, in_loop, scene


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n",
    ],
)
@pytest.mark.parametrize("first", ["client", "engine"])
@in_loop
async def test_a_hijacked_connection_is_raw_and_half_closed_each_way(head, first):
    heard = []

    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(head + b"early")
        if first == "engine":
            await peer.put(b"late")
            peer.end()
            heard.append(await peer.rest())
        else:
            heard.append(await peer.rest())
            await peer.put(b"late")

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(b"POST /containers/x/attach HTTP/1.1\r\n\r\nGET / ")
        assert await client.head() == head
        if first == "engine":
            assert await client.rest() == b"earlylate"
            await client.put(b"\r\n\r\n0\r\n\r\n")
            client.end()
            await asyncio.sleep(0.05)
        else:
            await client.put(b"\r\n\r\n0\r\n\r\n")
            client.end()
            assert await client.rest() == b"earlylate"
        assert heard == [b"GET / \r\n\r\n0\r\n\r\n"]


@pytest.mark.parametrize("half_closed", [False, True])
@in_loop
async def test_what_was_written_before_leaving_a_hijacked_connection_arrives(half_closed):
    left = asyncio.Event()
    heard = asyncio.get_running_loop().create_future()

    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        await left.wait()
        heard.set_result(len(await peer.rest()))

    async with scene(engine) as stage:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(stage.path)
            client.setblocking(False)
            client.send(b"POST /containers/x/attach HTTP/1.1\r\n\r\n")
            assert await asyncio.get_running_loop().sock_recv(client, 100)
            sent = await fill(client)
            if half_closed:
                client.shutdown(socket.SHUT_WR)
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        left.set()
        assert await heard == sent


async def fill(client: socket.socket) -> int:
    """Send until nobody takes any more; returns how many bytes that were."""
    sent, refused = 0, 0
    while refused < 10:
        try:
            sent += client.send(bytes(4096))
            refused = 0
        except BlockingIOError:
            refused += 1
            await asyncio.sleep(0.005)
    return sent


@in_loop
async def test_a_client_of_a_hijacked_connection_sees_the_engine_leave():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 101 UPGRADED\r\n\r\nbye")

    async with scene(engine, limits=Limits(read_seconds=0.1, linger_seconds=0.1)) as stage:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(stage.path)
            client.sendall(b"POST /session HTTP/1.1\r\n\r\n")
            hangup = select.poll()
            hangup.register(client, 0)
            assert await asyncio.to_thread(hangup.poll, 3000)
            assert client.recv(100).endswith(b"bye")


@in_loop
async def test_a_stream_waits_until_its_head_was_read():
    head = b"HTTP/1.1 101 UPGRADED\r\n\r\n"

    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(head + b"early")

    async with scene(engine) as stage:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(stage.path)
            client.sendall(b"POST /exec/x/start HTTP/1.1\r\n\r\n")
            await asyncio.sleep(0.1)
            assert await asyncio.to_thread(client.recv, 8192) == head
            assert await asyncio.to_thread(client.recv, 8192) == b"early"


@in_loop
async def test_an_engine_that_hears_no_more_may_go_on_speaking():
    told = asyncio.Event()

    async def engine(peer: Peer) -> None:
        await peer.head()
        peer.writer.get_extra_info("socket").shutdown(socket.SHUT_RD)
        await peer.put(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        await told.wait()
        await peer.put(b"last words")

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(b"POST /containers/x/attach HTTP/1.1\r\n\r\n")
        await client.head()
        with pytest.raises(BrokenPipeError):
            for _ in range(200):
                os.write(client.writer.get_extra_info("socket").fileno(), b"x")
                await asyncio.sleep(0.01)
        told.set()
        assert await client.rest() == b"last words"
