"""What is read of packets, and which of them the kernel is asked for."""

from __future__ import annotations

import socket
import struct
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.guest.services.diagnose.capture import parse_packet
from portchain.net import socket_filter

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
SYN = 0x02
PORT = 7000


def v4(protocol: int, body: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    first = 0x45 + len(options) // 4
    head = struct.pack("!BBHHHBBH", first, 0, 20 + len(options) + len(body), 0, fragment, 64, protocol, 0)
    return head + bytes([172, 17, 0, 1, 172, 17, 0, 2]) + options + body


def v6(protocol: int, body: bytes) -> bytes:
    ends = (socket.inet_pton(socket.AF_INET6, one) for one in ("fd00::1", "fd00::2"))
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + b"".join(ends) + body


def tcp(source_port: int, port: int, flags: int = SYN) -> bytes:
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, flags, 0, 0, 0)


def udp(source_port: int, port: int) -> bytes:
    return struct.pack("!HHHH", source_port, port, 8, 0)


def lost(kind: int, packet: bytes) -> bytes:
    """What ICMP says of a packet that did not arrive."""
    return struct.pack("!BBHI", kind, 3, 0, 0) + packet


TAKEN = [
    v4(TCP, tcp(40000, PORT)),
    v4(TCP, tcp(PORT, 40000)),
    v4(TCP, tcp(40000, PORT), options=bytes(8)),
    v4(UDP, udp(40000, PORT)),
    v4(UDP, udp(40000, PORT), fragment=0x4000),  # not to be fragmented
    v4(ICMP, lost(3, v4(UDP, udp(40000, PORT)))),
    v6(TCP, tcp(40000, PORT)),
    v6(UDP, udp(PORT, 40000)),
    v6(ICMP6, lost(1, v6(UDP, udp(40000, PORT)))),
]
LEFT = [
    v4(TCP, tcp(40000, 7001)),
    v4(UDP, udp(40000, PORT), fragment=1),
    v4(47, tcp(40000, PORT)),
    v6(TCP, tcp(40000, 7001)),
    v6(0, tcp(40000, PORT)),
    b"\x10" + bytes(40),
    b"E",
    b"",
]


def passes(packet: bytes) -> bool:
    """Whether the kernel lets it through."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(one), closing(other):
        socket_filter.attach(other, socket_filter.match_port(PORT))
        other.setblocking(False)
        one.send(packet or b"\0")
        try:
            return other.recv(4096) == packet
        except BlockingIOError:
            return False


@pytest.mark.parametrize("packet", TAKEN)
def test_packets_of_the_port_pass_and_are_read(packet: bytes) -> None:
    assert passes(packet)
    found = parse_packet(packet)
    assert found
    assert PORT in (found["port"], found["source_port"])


@pytest.mark.parametrize("packet", LEFT)
def test_others_do_not_pass(packet: bytes) -> None:
    assert not passes(packet)


def test_a_packet_is_read_whole() -> None:
    expected = {"source": "172.17.0.1", "destination": "172.17.0.2", "source_port": 40000, "port": PORT}
    assert parse_packet(TAKEN[0]) == {**expected, "flags": SYN, "protocol": "tcp"}
    assert parse_packet(TAKEN[2]) == parse_packet(TAKEN[0])
    assert parse_packet(TAKEN[3]) == {**expected, "flags": 0, "protocol": "udp"}
    assert parse_packet(TAKEN[5]) == {**expected, "flags": 3, "protocol": "icmp"}
    assert parse_packet(TAKEN[8]) == {
        **{"source": "fd00::1", "destination": "fd00::2", "source_port": 40000, "port": PORT},
        **{"flags": 1, "protocol": "icmp"},
    }


@given(st.binary(max_size=128))
def test_nothing_that_comes_is_too_odd(data: bytes) -> None:
    found = parse_packet(data)
    assert found is None or found["protocol"] in ("tcp", "udp", "icmp")


@given(st.sampled_from(TAKEN), st.integers(0, 60))
def test_what_is_cut_short_is_no_error(packet: bytes, size: int) -> None:
    parse_packet(packet[:size])
