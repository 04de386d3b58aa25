from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from portchain.net.listening import bind_message
from portchain.net.listening_sockets import find_holders, list_sockets, try_bind
from portchain.ports.forward import Endpoint


@pytest.fixture
def listener() -> Iterator[Endpoint]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Endpoint("tcp", *server.getsockname())


def test_a_listener_is_seen_with_its_holder(listener: Endpoint) -> None:
    wildcard = Endpoint("tcp", "", listener.port)
    assert listener in list_sockets().values()
    assert [process.pid for process in find_holders([wildcard])[wildcard]] == [os.getpid()]


def test_a_port_is_taken_without_a_name_where_the_kernel_lists_no_sockets(listener: Endpoint) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # so that no netlink socket can be made
    try:
        assert list_sockets() == {}
        assert find_holders([listener]) == {listener: []}
        message = bind_message(listener, OSError(errno.EADDRINUSE, "Address already in use"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "a process that cannot be seen listens there" in message


def test_a_port_in_use_cannot_be_bound(listener: Endpoint) -> None:
    for address in ("", "0.0.0.0", "127.0.0.1"):
        error = try_bind(Endpoint("tcp", address, listener.port))
        assert error is not None and error.errno == errno.EADDRINUSE
    assert try_bind(Endpoint("tcp", "127.0.0.2", listener.port)) is None


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    error = try_bind(Endpoint("udp", "192.0.2.7", 9))
    assert error is not None and error.errno == errno.EADDRNOTAVAIL
