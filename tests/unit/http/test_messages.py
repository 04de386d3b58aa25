from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.http.body import MAX_LINE, MAX_TRAILERS, Chunked, ProtocolError
from portchain.http.messages import MAX_FIELDS, MAX_HEAD, Headers, RequestHead, ResponseHead, take_head
from support.http_messages import answers, cut, rejoined, requests

POST = b"POST /v1.41/containers/create?name=x HTTP/1.1\r\nHost: docker\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\nhello\r\n10;a="b"\r\n0123456789abcdef\r\n000\r\nChecksum: 1\r\n\r\n'
)
GET = b"\r\nGET /_ping HTTP/1.0\nHost: docker\n\n"
PIPELINE = POST + CHUNKED + GET + POST
RESPONSES = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    b"HTTP/1.1 304\r\n\r\nHTTP/1.0 200 OK\r\n\r\nuntil the end"
)


def contents(messages):
    return [message if isinstance(message, int) else message[1] for message in messages]


def test_requests_are_told_apart():
    messages = requests([PIPELINE])
    assert [(head.method, head.target, head.version) for head, _, _ in messages] == [
        ("POST", "/v1.41/containers/create?name=x", "HTTP/1.1"),
        ("POST", "/build", "HTTP/1.1"),
        ("GET", "/_ping", "HTTP/1.0"),
        ("POST", "/v1.41/containers/create?name=x", "HTTP/1.1"),
    ]
    assert contents(messages) == [b"hello", b"hello0123456789abcdef", b"", b"hello"]


def test_nothing_is_lost_of_what_passes_through():
    assert b"".join(head.raw + raw for head, _, raw in requests([PIPELINE])) == PIPELINE.replace(GET, GET[2:])
    assert b"".join(head.raw + raw for head, _, raw in answers([RESPONSES])) == RESPONSES


@pytest.mark.parametrize("wire", [PIPELINE, PIPELINE[:-1]])
def test_requests_are_the_same_at_every_split(wire):
    whole = requests([wire])
    assert requests([wire[at : at + 1] for at in range(len(wire))]) == whole
    for at in range(len(wire)):
        assert requests(cut(wire, [at])) == whole


def test_responses_are_the_same_at_every_split():
    whole = answers([RESPONSES])
    assert contents(whole) == [b"", b"", b"abc", b"", b"until the end"]
    assert answers([RESPONSES[at : at + 1] for at in range(len(RESPONSES))]) == whole
    for at in range(len(RESPONSES)):
        assert answers(cut(RESPONSES, [at])) == whole


def test_a_head_request_has_no_body_in_its_answer():
    assert contents(answers([b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"] * 2, "HEAD")) == [b"", b""]


fields = st.sampled_from(
    [
        *(b"Content-Length: 3\r\n", b"Content-Length: 4\r\n", b"Content-Length: -1\r\n", b"Content-Length: 3, 3\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n"),
        *(b"Host: x\n", b" folded\r\n", b"No colon\r\n", b"Sp ace: x\r\n", b"Nul: \x00\r\n", b"Cr: a\rb\r\n"),
    ]
)
pieces = st.one_of(
    st.sampled_from(
        [POST, CHUNKED, GET, RESPONSES, b"3\r\nabc\r\n", b"0\r\n\r\n", b"\r\n", b"\n", b"ffffffffffffffffff\r\n"]
    ),
    st.builds(lambda lines: b"POST / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n", st.lists(fields, max_size=3)),
    st.builds(lambda lines: b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n", st.lists(fields, max_size=3)),
    st.binary(max_size=40),
)


@given(st.lists(pieces, max_size=6).map(b"".join), st.data())
def test_whatever_comes_means_the_same_however_it_comes(wire, data):
    places = data.draw(st.lists(st.integers(0, len(wire))))
    assert requests(cut(wire, places)) == requests([wire])
    assert answers(cut(wire, places)) == answers([wire])


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"A" * 33, 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: \xb3\r\n\r\nabc".encode("latin-1"), 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", 400),
        (b"GET / HTTP/1.1\r\nHo", 400),
    ],
)
def test_broken_requests_are_refused(wire, status):
    assert requests([wire]) == [status]


@pytest.mark.parametrize(
    "wire",
    [
        *(b"x\r\n", b"-1\r\n", b"0x1\r\n", b"1_0\r\n", b"\r\n", b" 1\r\n", b"3\nabc", b"1" * 16 + b"\r\n"),
        *(b"3\r\nabcd\r\n", b"3\r\nabc\n", b"3;" + b"x" * MAX_LINE, b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 6 + 1)),
        b"3;\x00\r\n",
    ],
)
def test_broken_chunks_are_refused_at_once(wire):
    for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
        body = Chunked()
        with pytest.raises(ProtocolError):
            for piece in pieces:
                body.take(memoryview(piece))


@pytest.mark.parametrize("wire", [b"", b"3", b"3\r\nab", b"3\r\nabc\r\n", b"0\r\n", b"0\r\nA: b\r\n"])
def test_chunks_cut_short_are_no_end(wire):
    assert requests([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + wire]) == [400]


@pytest.mark.parametrize(
    "wire",
    [b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"\x00"],
)
def test_broken_responses_are_the_gateway_s_fault(wire):
    assert answers([wire]) == [502]


def test_a_head_of_the_greatest_size_is_taken():
    head = b"GET / HTTP/1.1\r\nA: " + b"b" * (MAX_HEAD - 23) + b"\r\n\r\n"
    assert len(head) == MAX_HEAD
    assert take_head(bytearray(head)) == head


@pytest.mark.parametrize("trailers", [b"A: b\r\n" * 680, b"A: " + b"b" * 4080 + b"\r\n"])
def test_as_many_trailers_as_the_engine_takes_are_taken(trailers):
    [(_, content, raw)] = requests([CHUNKED.replace(b"Checksum: 1\r\n", trailers)])
    assert content == b"hello0123456789abcdef"
    assert raw.endswith(trailers + b"\r\n")


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1), st.data())
def test_a_body_read_in_part_can_be_joined_to_its_rest(chunks, data):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nA: b\r\n\r\n"
    at = data.draw(st.integers(len(b"%x\r\n" % len(chunks[0])) + 1, len(wire) - 1))
    content = bytearray()
    again = rejoined(Chunked(), wire, at)
    body = Chunked()
    assert body.take(memoryview(again + b"next"), content) == len(again)
    assert body.complete
    assert content == b"".join(chunks)


@pytest.mark.parametrize(
    ("head", "persistent"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Keep-Alive, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_connections_are_kept_as_their_version_says(head, persistent):
    assert RequestHead.parse(head).persistent is persistent
    assert ResponseHead.parse(head.replace(b"GET / ", b"").replace(b"\r\n", b" 200 OK\r\n", 1)).persistent is persistent


@pytest.mark.parametrize(
    ("method", "answer", "hijacked"),
    [
        ("POST", b"101 UPGRADED\r\nUpgrade: tcp", True),
        ("GET", b"101 Switching Protocols\r\nUpgrade: h2c", True),
        ("POST", b"200 OK\r\nContent-Type: application/vnd.docker.raw-stream", True),
        ("POST", b"200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream", True),
        ("POST", b"200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nTransfer-Encoding: chunked", False),
        ("POST", b"200 OK\r\nContent-Type: application/json", False),
        ("GET", b"200 OK\r\nContent-Type: application/vnd.docker.raw-stream", False),
        ("POST", b"404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream", False),
    ],
)
def test_hijacked_connections_are_told_by_the_answer(method, answer, hijacked):
    assert ResponseHead.parse(b"HTTP/1.1 %b\r\n\r\n" % answer).hijacks(method) is hijacked


def test_only_an_http_1_1_client_waits_to_be_told_to_go_on():
    assert RequestHead.parse(b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n").expects_continue
    assert not RequestHead.parse(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue
    assert not RequestHead.parse(b"POST / HTTP/1.1\r\n\r\n").expects_continue


def test_headers_are_found_in_any_case():
    headers = Headers([("Accept", "a"), ("ACCEPT", "b, C"), ("Host", "h")])
    assert (headers.get("accept"), headers.get("none", "x"), headers.all("Accept")) == ("a", "x", ["a", "b, C"])
    assert headers.tokens("accept") == ["a", "b", "c"]
    assert headers.without("accept") == [("Host", "h")]
