from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack

import pytest

from portchain.net.socket_diagnostics import list_listeners, list_port_holders, parse_dump
from portchain.ports.forward import Endpoint

V4, V6 = socket.AF_INET, socket.AF_INET6
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def opened(protocol: str, family: int, address: str, v6only: int | None = None, interface: str = "") -> socket.socket:
    sock = socket.socket(family, KINDS[protocol])
    if v6only is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    if interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.bind((address, 0))
    if protocol == "tcp":
        sock.listen()
    return sock


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize(
    ("family", "address", "v6only", "seen"),
    [
        (V4, "127.0.0.2", None, "127.0.0.2"),
        (V4, "0.0.0.0", None, "0.0.0.0"),
        (V6, "::1", None, "::1"),
        (V6, "::ffff:127.0.0.1", 0, "127.0.0.1"),
        (V6, "::", 0, ""),
        (V6, "::", 1, "::"),
    ],
)
def test_a_socket_is_seen_as_it_was_bound(
    protocol: str, family: int, address: str, v6only: int | None, seen: str
) -> None:
    with opened(protocol, family, address, v6only) as sock:
        number, endpoint = inode(sock), Endpoint(protocol, seen, sock.getsockname()[1])
        assert list_port_holders(protocol).get(number) == list_listeners().get(number) == endpoint
    assert number not in list_port_holders(protocol).keys() | list_listeners().keys()


def test_a_connection_holds_no_port_of_tcp() -> None:
    with (
        opened("tcp", V4, "127.0.0.1") as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        for listed in (list_port_holders("tcp"), list_listeners()):
            assert inode(server) in listed
            assert inode(client) not in listed


@pytest.mark.parametrize(("family", "address"), [(V4, "127.0.0.1"), (V6, "::1"), (V6, "::ffff:127.0.0.1")])
def test_a_connected_socket_of_udp_holds_its_port_but_is_no_listener(family: int, address: str) -> None:
    with opened("udp", family, address) as peer, opened("udp", family, address) as connected:
        connected.connect(peer.getsockname()[:2])
        held = Endpoint("udp", address.removeprefix("::ffff:"), connected.getsockname()[1])
        assert list_port_holders("udp").get(inode(connected)) == held
        assert inode(connected) not in list_listeners()


@pytest.mark.parametrize("protocol", KINDS)
def test_a_socket_of_one_interface_holds_its_port_but_is_no_listener(protocol: str) -> None:
    with opened(protocol, V4, "0.0.0.0", interface="lo") as sock:
        assert list_port_holders(protocol).get(inode(sock)) == Endpoint(protocol, "0.0.0.0", sock.getsockname()[1])
        assert inode(sock) not in list_listeners()


def test_many_sockets_are_listed_in_several_datagrams() -> None:
    with ExitStack() as stack:
        numbers = {inode(stack.enter_context(opened("tcp", V4, "127.0.0.1"))) for _ in range(600)}
        assert numbers <= list_port_holders("tcp").keys()


def test_a_kernel_that_cannot_list_is_an_error_that_says_so() -> None:
    answer = struct.pack("=IHHIIi16x", 36, 2, 2, 0, 0, -2)
    with pytest.raises(OSError, match="the kernel does not list udp sockets: No such file"):
        parse_dump("udp", answer)
