from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from portchain.mapping.forward import Endpoint
from portchain.preflight.sockets import holders, listening, parse_sockets, why_not_bound

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address st
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 21 1
   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 22 1
   2: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 23 1
"""


@pytest.fixture
def listener() -> Iterator[Endpoint]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Endpoint("tcp", *server.getsockname())


def test_listening_sockets_are_read_from_proc() -> None:
    assert parse_sockets(TCP, "tcp") == {11: Endpoint("tcp", "127.0.0.1", 8080), 12: Endpoint("tcp", "0.0.0.0", 22)}


def test_the_ipv6_wildcard_counts_for_both_families() -> None:
    assert parse_sockets(TCP6, "tcp") == {
        21: Endpoint("tcp", "", 8080),
        22: Endpoint("tcp", "::1", 8081),
        23: Endpoint("tcp", "127.0.0.1", 8082),
    }


def test_a_listener_is_seen_with_its_holder(listener: Endpoint) -> None:
    wildcard = Endpoint("tcp", "", listener.port)
    assert listener in listening().values()
    assert [process.pid for process in holders([wildcard])[wildcard]] == [os.getpid()]


def test_a_port_in_use_cannot_be_bound(listener: Endpoint) -> None:
    for address in ("", "0.0.0.0", "127.0.0.1"):
        error = why_not_bound(Endpoint("tcp", address, listener.port))
        assert error is not None and error.errno == errno.EADDRINUSE
    assert why_not_bound(Endpoint("tcp", "127.0.0.2", listener.port)) is None


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    error = why_not_bound(Endpoint("udp", "192.0.2.7", 9))
    assert error is not None and error.errno == errno.EADDRNOTAVAIL
