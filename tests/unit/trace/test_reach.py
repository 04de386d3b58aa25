from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portchain.ports.forward import Endpoint, Forward
from portchain.trace.collect.reach import reach, reach_all


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[Endpoint]:
    """A server that takes one connection and does ``answer`` with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Endpoint("tcp", "127.0.0.1", listener.getsockname()[1])
        thread.join(2)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_server_that_speaks_or_waits_is_reached() -> None:
    with server(lambda connection: connection.sendall(b"SSH-2.0")) as listen:
        assert reach(listen, 2) == ""
    kept: list[socket.socket] = []
    with server(kept.append) as listen:
        assert reach(listen, 2, silence=0.1) == ""


def test_a_reset_an_early_end_and_a_silent_host_are_told_apart() -> None:
    with server(reset) as listen:
        assert "reset" in reach(listen, 2)
    with server(socket.socket.close) as listen:
        assert "closed" in reach(listen, 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = Endpoint("tcp", "127.0.0.1", listener.getsockname()[1])
    assert "does not answer: Connection refused" in reach(gone, 2)


def test_all_are_probed_and_a_dead_one_is_named() -> None:
    target = Endpoint("tcp", "127.0.0.1", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = Endpoint("tcp", "127.0.0.1", listener.getsockname()[1])
    with server(lambda connection: connection.sendall(b"x")) as alive:
        findings = reach_all([Forward(alive, target), Forward(gone, target)], 0.1)
    assert [bool(f.problem) for f in findings] == [False, True]
