from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portchain.guest.service_socket import listen
from portchain.http.server import HttpService, RequestError, ServiceRequest, ServiceResponse

Send = Callable[..., bytes]


class Handler:
    """Answers by the path; ``ended`` is set when its endless stream is."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def answer(self, request: ServiceRequest) -> ServiceResponse:
        match request.path:
            case "/length":
                return ServiceResponse(sum(map(len, request.body)))
            case "/refused":
                raise RequestError(HTTPStatus.CONFLICT, "no")
            case "/endless":
                return ServiceResponse(self._endless())
            case "/broken":
                return ServiceResponse(self._broken())
        return ServiceResponse({"path": request.path, "query": request.query})

    def _endless(self) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            self.ended.set()

    def _broken(self) -> Iterator[bytes]:
        yield b"begun"
        raise OSError("gone")


@pytest.fixture(scope="module")
def handler() -> Handler:
    return Handler()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, handler: Handler) -> Iterator[str]:
    socket_path = tmp_path_factory.mktemp("http") / "sock"
    server = HttpService(listen(socket_path), handler.answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield str(socket_path)
    server.close()
    thread.join(5)


def sent(path: str, data: bytes) -> bytes:
    """The whole answer to ``data``, after which nothing more is sent."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def test_paths_and_queries_are_decoded(path: str) -> None:
    answer = sent(path, b"GET /a%20b?x=1&x=%C3%A4&y= HTTP/1.1\r\n\r\n")
    assert answer.endswith(b'{"path": "/a b", "query": {"x": "\\u00e4", "y": ""}}\n')


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n"],
)
def test_bodies_are_streams(path: str, body: bytes) -> None:
    assert sent(path, b"PUT /length HTTP/1.1\r\n" + body).endswith(b"\r\n\r\n5\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 11_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70000, 431),
        (b"GET /?" + b"&".join([b"a=b"] * 40) + b" HTTP/1.1\r\n\r\n", 400),
        (b"PUT /length HTTP/1.1\r\nContent-Length: 9\r\n\r\nhello", 400),
        (b"PUT /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 400),
        (b"PUT /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"PUT /refused HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 409),
    ],
)
def test_what_is_wrong_is_answered(path: str, request_: bytes, status: int) -> None:
    assert sent(path, request_).startswith(b"HTTP/1.1 %d " % status)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_garbage_is_answered_or_left(path: str, data: bytes) -> None:
    assert sent(path, data)[:9] in (b"", b"HTTP/1.1 ")


def test_a_refusal_is_read_by_a_client_that_still_sends(path: str) -> None:
    body = b"%x\r\n%b\r\n" % (1 << 20, bytes(1 << 20)) * 4 + b"0\r\n\r\n"
    answer = sent(path, b"PUT /refused HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert answer.endswith(b'{"message": "no"}\n')


def test_a_stream_ends_with_its_client(path: str, handler: Handler) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
        assert client.recv(100)
    assert handler.ended.wait(5)


def test_a_stream_that_breaks_is_seen_to(path: str) -> None:
    assert sent(path, b"GET /broken HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n5\r\nbegun\r\n")


def test_more_clients_than_there_is_room_for_are_all_served(path: str) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(70)]
    try:
        for client in clients[:64]:
            client.connect(path)
        waiting = clients[64]
        waiting.connect(path)
        waiting.settimeout(5)
        waiting.sendall(b"GET /late HTTP/1.1\r\n\r\n")
        for client in clients[:64]:
            client.close()
        assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        for client in clients:
            client.close()


def test_the_socket_is_for_its_owner_alone(path: str) -> None:
    assert Path(path).stat().st_mode & 0o777 == 0o600
