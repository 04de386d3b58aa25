from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portchain.http.blocking_client import Content, ask, get_json, request


@contextmanager
def server(path: Path, answer: bytes, *, read: Callable[[socket.socket], bytes] | None = None) -> Iterator[list[bytes]]:
    """A server of one request: what it received, and ``answer``, a byte string sent as it is."""
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(5)
                received.append(read(client) if read else client.recv(1 << 16))
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield received
        thread.join(5)
        assert not thread.is_alive()


def to_the_end(client: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data += client.recv(1 << 16)
    return data


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n',
        b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}',
        b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
    ],
)
def test_every_framing_is_read(tmp_path: Path, answer: bytes) -> None:
    with server(tmp_path / "s", answer):
        assert get_json(str(tmp_path / "s"), "/", 5) == {"a": 1}


def test_json_is_sent_with_its_length_and_kind(tmp_path: Path) -> None:
    with server(tmp_path / "s", b"HTTP/1.1 204 No Content\r\n\r\n") as received:
        assert request(str(tmp_path / "s"), "PUT", "/x", 5, {"b": 2}) == (204, b"")
    assert received[0].startswith(b"PUT /x HTTP/1.1\r\n")
    assert b"Content-Length: 8\r\n" in received[0]
    assert b"Content-Type: application/json\r\n" in received[0]
    assert received[0].endswith(b'\r\n\r\n{"b": 2}')


def test_pieces_are_streamed(tmp_path: Path) -> None:
    content = Content(iter([b"one", b"", b"three"]), "application/x-tar")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst\nend"
    with (
        server(tmp_path / "s", answer, read=to_the_end) as received,
        ask(str(tmp_path / "s"), "PUT", "/", 5, content) as reply,
    ):
        assert list(reply.lines()) == [b"first", b"end"]
    assert received[0].endswith(b"\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")


def test_a_refusal_before_the_body_was_read_is_what_counts(tmp_path: Path) -> None:
    pieces = Content(b"x" * (1 << 20) for _ in range(64))
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n"
    with (
        server(tmp_path / "s", answer, read=lambda client: client.recv(100)),
        ask(str(tmp_path / "s"), "PUT", "/", 5, pieces) as reply,
    ):
        assert (reply.status, reply.reason) == (413, "Too Large")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"", "closed before an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "in the middle of a body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no chunk size"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP"),
    ],
)
def test_what_is_no_whole_response_is_an_error(tmp_path: Path, answer: bytes, what: str) -> None:
    with server(tmp_path / "s", answer), pytest.raises(OSError, match=what):
        request(str(tmp_path / "s"), "GET", "/", 5)


def test_a_line_without_end_is_read_in_linear_time(tmp_path: Path) -> None:
    size = 60 << 20
    with server(tmp_path / "s", b"HTTP/1.0 200 OK\r\n\r\n" + bytes(size) + b"\nlast"):
        began = time.process_time()
        with ask(str(tmp_path / "s"), "GET", "/", 5) as reply:
            assert [len(line) for line in reply.lines()] == [size, 4]
        assert time.process_time() - began < 20, "copied once, not for each block"


def test_json_nested_without_end_is_an_error(tmp_path: Path) -> None:
    with (
        server(tmp_path / "s", b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 1_000_000),
        pytest.raises(ValueError, match="nested"),
    ):
        get_json(str(tmp_path / "s"), "/", 5)
