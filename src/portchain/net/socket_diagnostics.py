"""List the TCP and UDP sockets of a network namespace, as sock_diag(7) tells of them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..ports.forward import Endpoint

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301
_V6ONLY = 11
_ESTABLISHED, _CLOSE, _LISTEN = 1 << 1, 1 << 7, 1 << 10
_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBxxI48x")
_DIAG_MESSAGE = struct.Struct("=B3x2s2x16s16xI24xI")
_ATTRIBUTE = struct.Struct("=HH")
_MAPPED = bytes(10) + b"\xff\xff"
_TIMEOUT = 1.0


class DiagnosedSocket(NamedTuple):
    """A socket; ``interface`` is the number of the one that it is bound to, or 0."""

    inode: int
    endpoint: Endpoint
    interface: int = 0


def list_port_holders(protocol: str) -> dict[int, Endpoint]:
    """Return the sockets that keep others from their ports, by inode; raise OSError.

    A UDP socket does while it is connected, and any socket does that is bound to one interface.
    """
    states = _LISTEN if protocol == "tcp" else _CLOSE | _ESTABLISHED
    return {inode: endpoint for inode, endpoint, _ in _dump(protocol, states)}


def list_listeners() -> dict[int, Endpoint]:
    """Return the sockets that any client may reach, by inode; raise OSError.

    Left out are UDP sockets that are connected, and sockets that are bound to one interface.
    """
    return {
        inode: endpoint
        for protocol, states in (("tcp", _LISTEN), ("udp", _CLOSE))
        for inode, endpoint, interface in _dump(protocol, states)
        if not interface
    }


def _dump(protocol: str, states: int) -> Iterator[DiagnosedSocket]:
    """Yield the sockets in ``states`` of the calling thread's network namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(_TIMEOUT)
        for family in (socket.AF_INET, socket.AF_INET6):
            query = _QUERY.pack(family, _NUMBERS[protocol], states)
            diag.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + query)
            done = False
            while not done:
                parsed, done = parse_dump(protocol, diag.recv(1 << 16))
                yield from parsed


def parse_dump(protocol: str, data: bytes) -> tuple[list[DiagnosedSocket], bool]:
    """Parse one datagram of an answer: return its sockets, and whether it is the last; raise OSError."""
    parsed: list[DiagnosedSocket] = []
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        body = data[offset + _HEADER.size : offset + length]
        if kind == _DONE:
            return parsed, True
        if kind == _ERROR:
            number = -struct.unpack_from("=i", body)[0]
            raise OSError(number, f"the kernel does not list {protocol} sockets: {os.strerror(number)}")
        if kind == _BY_FAMILY:
            parsed.append(_parse_socket(protocol, body))
        offset += max(length + 3 & ~3, _HEADER.size)
    return parsed, False


def _parse_socket(protocol: str, body: bytes) -> DiagnosedSocket:
    family, port, raw, interface, inode = _DIAG_MESSAGE.unpack_from(body)
    if family == socket.AF_INET:
        address = socket.inet_ntop(socket.AF_INET, raw[:4])
    elif raw.startswith(_MAPPED):
        address = socket.inet_ntop(socket.AF_INET, raw[12:])
    else:
        address = socket.inet_ntop(socket.AF_INET6, raw)
        if address == "::" and _attributes(body[_DIAG_MESSAGE.size :]).get(_V6ONLY) == b"\0":
            address = ""
    return DiagnosedSocket(inode, Endpoint(protocol, address, int.from_bytes(port, "big")), interface)


def _attributes(data: bytes) -> dict[int, bytes]:
    attributes = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        attributes[kind] = data[_ATTRIBUTE.size : length]
        data = data[max(length + 3 & ~3, _ATTRIBUTE.size) :]
    return attributes
