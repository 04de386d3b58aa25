from __future__ import annotations

import asyncio

import pytest

from portchain.host.docker_api.exchange import Exchange, Limits
from portchain.http.body import ProtocolError
from portchain.http.response import Response
from support.http_messages import answers
from support.http_parties import GET, LAST, Peer, in_loop, message, obliging, scene, silent


@in_loop
async def test_a_handler_reads_asks_and_answers():
    heard = []

    async def engine(peer: Peer) -> None:
        while head := await peer.head():
            heard.append(head)
            await peer.get(5)
            await peer.put(
                b"HTTP/1.1 201 Made\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
            )

    async def handler(exchange: Exchange) -> None:
        seen = (exchange.method, exchange.path, exchange.version, exchange.query, exchange.params)
        assert seen == ("POST", "/containers/create", "1.41", "name=a%20b&x", {"name": ["a b"], "x": [""]})
        assert await exchange.body() == b"a body"
        response = await exchange.ask(b"other", "name=c")
        assert (response.status, response.reason, response.parsed()) == (201, "Made", {})
        await exchange.answer(Response(response.status, response.headers, b'{"Id": 1}', response.reason))

    async with scene(engine, {"/containers/create": handler}) as stage:
        client = await stage.client()
        for _ in range(2):
            await client.put(
                b"POST /v1.41/containers/%63reate?name=a%20b&x HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.put(b"6\r\na body\r\n0\r\n\r\n")
            assert await client.head() == (
                b"HTTP/1.1 201 Made\r\nApi-Version: 1.41\r\nContent-Length: 9\r\nConnection: keep-alive\r\n\r\n"
            )
            assert await client.get(9) == b'{"Id": 1}'
        assert (
            heard
            == [
                b"POST /v1.41/containers/%63reate?name=c HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\n",
            ]
            * 2
        )
        assert stage.connections == 1


@in_loop
async def test_a_handler_may_act_before_the_client_has_its_answer():
    told: list[int] = []
    go_on = asyncio.Event()

    async def before(status: int) -> None:
        told.append(status)
        await go_on.wait()

    async def handler(exchange: Exchange) -> None:
        told.append(await exchange.pass_on(before))

    async with scene(obliging, {"/containers/x/stop": handler}) as stage:
        client = await stage.client()
        await client.put(b"POST /v1.41/containers/x/stop HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.head(), 0.05)
        go_on.set()
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
        await asyncio.sleep(0.01)
        assert told == [200, 200]


@pytest.mark.parametrize("at_once", [True, False])
@in_loop
async def test_a_handler_may_act_between_the_head_and_the_body_of_an_answer(at_once):
    steps: list[str] = []
    go_on = asyncio.Event()
    head, body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nbody\r\n0\r\n\r\n"

    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(head + body if at_once else head)
        await go_on.wait()
        steps.append("ended")
        await peer.put(b"" if at_once else body)

    async def before_body() -> None:
        await go_on.wait()
        steps.append("acted")

    async def handler(exchange: Exchange) -> None:
        await exchange.pass_on(before_body=before_body)

    async with scene(engine, {"/x/wait": handler}) as stage:
        client = await stage.client()
        await client.put(b"POST /x/wait HTTP/1.1\r\n\r\n")
        assert await client.head() == head
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(1), 0.05)
        go_on.set()
        assert await client.get(len(body)) == body
        assert sorted(steps) == ["acted", "ended"]


@in_loop
async def test_a_handler_may_read_a_request_and_pass_it_on():
    async def engine(peer: Peer) -> None:
        head = await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\n\r\n" + head + await peer.get(5))

    async def handler(exchange: Exchange) -> None:
        assert await exchange.body() == b"hello"
        await exchange.pass_on()

    async with scene(engine, {"/x": handler}) as stage:
        answer = await stage.ask(b"POST /x?a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\nPOST /x?a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")


@in_loop
async def test_a_head_request_is_answered_without_a_body():
    async def engine(peer: Peer) -> None:
        while await peer.head():
            await peer.put(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")

    async def passing(exchange: Exchange) -> None:
        await exchange.answer(await exchange.ask())

    async def own(exchange: Exchange) -> None:
        await exchange.answer(Response.json(200, "abcd"))

    async with scene(engine, {"/a": passing, "/b": own}) as stage:
        client = await stage.client()
        await client.put(b"".join(b"HEAD /%b HTTP/1.1\r\n\r\n" % path for path in (b"a", b"b", b"c")))
        assert b"Content-Length: 7\r\n" in await client.head()
        assert b"Content-Length: 7\r\n" in await client.head()
        assert await client.head() == b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"


@in_loop
async def test_a_body_too_long_for_a_handler_is_refused():
    async def handler(exchange: Exchange) -> None:
        await exchange.ask()

    async with scene(silent, {"/x": handler}, Limits(request_body=1000)) as stage:
        client = await stage.client()
        await client.put(b"POST /x HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000))
        assert message(await client.rest())[0] == 413
        assert stage.connections == 0


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@in_loop
async def test_a_response_too_long_for_a_handler_reaches_the_client_all_the_same(version):
    chunk = bytes(range(256)) * 3

    async def engine(peer: Peer) -> None:
        head = await peer.head()
        assert head.startswith(b"GET /x HTTP/%b\r\n" % version)
        if version == b"1.0":
            await peer.put(b"HTTP/1.0 200 OK\r\n\r\n" + chunk * 1000)
        else:
            await peer.put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await peer.put((b"%x\r\n%b\r\n" % (len(chunk), chunk)) * 1000 + b"0\r\n\r\n")
            await obliging(peer)

    async def handler(exchange: Exchange) -> None:
        await exchange.answer(await exchange.ask())

    async with scene(engine, {"/x": handler}, Limits(response_body=1000)) as stage:
        wire = await stage.ask(b"GET /x HTTP/%b\r\n\r\n" % version + LAST)
        contents = [content for _, content, _ in answers([wire])]
        assert contents == ([chunk * 1000] if version == b"1.0" else [chunk * 1000, b"/_ping"])


async def raising(_: Exchange) -> None:
    raise ProtocolError(409, "host: port 80 is taken")


async def buggy(_: Exchange) -> None:
    raise KeyError("x")


async def idle(_: Exchange) -> None:
    pass


async def late(exchange: Exchange) -> None:
    await exchange.pass_on()
    raise KeyError("x")


async def unsettled(exchange: Exchange) -> None:
    async def before(_: int) -> None:
        raise ProtocolError(500, "host: ports not settled")

    await exchange.pass_on(before)


@pytest.mark.parametrize(("handler", "status"), [(raising, 409), (buggy, 500), (idle, 500), (unsettled, 500)])
@in_loop
async def test_a_handler_that_fails_is_an_error_in_docker_s_form(handler, status):
    async with scene(obliging, {"/x": handler}) as stage:
        client = await stage.client()
        await client.put(b"GET /x HTTP/1.1\r\n\r\n" + LAST)
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (await client.rest()).endswith(b"\r\n\r\n/_ping")


@in_loop
async def test_a_handler_that_fails_late_ends_the_connection():
    async with scene(obliging, {"/x": late}) as stage:
        assert (await stage.ask(b"GET /x HTTP/1.1\r\n\r\n" + GET)).endswith(b"\r\n\r\n/x")


@in_loop
async def test_a_client_that_goes_away_ends_its_handler():
    ended = asyncio.Event()

    async def handler(_: Exchange) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with scene(obliging, {"/wait": handler}) as stage:
        client = await stage.client()
        await client.put(b"POST /wait HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + GET)
        await asyncio.sleep(0.05)
        client.close()
        await asyncio.wait_for(ended.wait(), 1)
