from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from portchain.engine import exchange as exchange_module
from portchain.engine import proxy as proxy_module
from portchain.engine.body import ProtocolError
from portchain.engine.exchange import Exchange, Response

from .messages import answers
from .parties import OK, Peer, in_loop, scene

GET = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
LAST = b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def message(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head
    return int(head.split()[1]), json.loads(body)["message"]


async def obliging(peer: Peer) -> None:
    """Answers every request without a body, in its own words, and closes when asked to."""
    while head := await peer.head():
        target = head.split()[1]
        last = b"Connection: close" in head
        close = b"Connection: close\r\n" if last else b""
        await peer.put(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (close, len(target), target))
        if last:
            return


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


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\n", b"nonsense\n", b"\x00" * 99])
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


async def silent(peer: Peer) -> None:
    """Hears the client out."""
    await peer.rest()


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
    heard = asyncio.get_running_loop().create_future()

    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        await asyncio.sleep(0.05)
        heard.set_result(await peer.rest())

    async with scene(engine) as stage:
        client = await stage.client()
        await client.put(b"POST /containers/x/attach HTTP/1.1\r\n\r\n")
        await client.head()
        await client.put(b"x" * 500_000)
        if half_closed:
            client.end()
        client.close()
        assert await heard == b"x" * 500_000


@in_loop
async def test_a_client_of_a_hijacked_connection_sees_the_engine_leave():
    async def engine(peer: Peer) -> None:
        await peer.head()
        await peer.put(b"HTTP/1.1 101 UPGRADED\r\n\r\nbye")

    async with scene(engine) as stage:
        client = await stage.client()
        assert (await client.ask(b"POST /session HTTP/1.1\r\n\r\n")).endswith(b"bye")
        with pytest.raises(ConnectionError):
            for _ in range(200):
                await client.put(b"x")
                await asyncio.sleep(0.01)


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


@in_loop
async def test_a_handler_may_read_a_request_and_pass_it_on():
    async def engine(peer: Peer) -> None:
        head = await peer.head()
        await peer.put(b"HTTP/1.1 200 OK\r\n\r\n" + head + await peer.get(5))

    async def handler(exchange: Exchange) -> None:
        assert await exchange.body() == b"hello"
        await exchange.pass_on(query="")

    async with scene(engine, {"/x": handler}) as stage:
        answer = await stage.ask(b"POST /x?a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\nPOST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")


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
async def test_a_body_too_long_for_a_handler_is_refused(monkeypatch):
    monkeypatch.setattr(exchange_module, "MAX_REQUEST", 1000)

    async def handler(exchange: Exchange) -> None:
        await exchange.ask()

    async with scene(silent, {"/x": handler}) as stage:
        client = await stage.client()
        await client.put(b"POST /x HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000))
        assert message(await client.rest())[0] == 413
        assert stage.connections == 0


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@in_loop
async def test_a_response_too_long_for_a_handler_reaches_the_client_all_the_same(monkeypatch, version):
    monkeypatch.setattr(exchange_module, "MAX_RESPONSE", 1000)
    chunk = bytes(range(256)) * 3

    async def engine(peer: Peer) -> None:
        head = await peer.head()
        assert head.startswith(b"GET /x HTTP/%b\r\n" % version)
        if version == b"1.0":
            await peer.put(b"HTTP/1.0 200 OK\r\n\r\n" + chunk * 1000)
        else:
            await peer.put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
            await peer.put((b"%x\r\n%b\r\n" % (len(chunk), chunk)) * 1000 + b"0\r\n\r\n")

    async def handler(exchange: Exchange) -> None:
        await exchange.answer(await exchange.ask())

    async with scene(engine, {"/x": handler}) as stage:
        wire = await stage.ask(b"GET /x HTTP/%b\r\nConnection: close\r\n\r\n" % version)
        [(_, content, _)] = answers([wire])
        assert content == chunk * 1000


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
