"""Read and delete the kernel's connection tracking entry of a UDP flow, by ctnetlink in the caller's namespace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from ..ports.forward import Endpoint

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102  # of subsystem 1, ctnetlink
_REQUEST, _ACK = 1, 4
_ERROR = 2
_NESTED = 0x8000
_ORIGINAL, _STATUS = 1, 3  # attributes of an entry
_ADDRESSES, _PORTS = 1, 2  # of its tuple
_DST_NAT = 1 << 5  # in its status
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BxH")  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_MAX_ANSWER = 8192  # bytes


class Conntrack:
    """The tracked flows of UDP, by the ends of their first datagram. Needs CAP_NET_ADMIN; methods raise OSError."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)

    def translated(self, source: Endpoint, target: Endpoint) -> bool | None:
        """Return whether a flow's destination is translated; None if there is no entry."""
        answer = self._ask(_GET, 0, source, target)
        if answer is None:
            return None
        status = next((data for kind, data in _attributes(answer[_FAMILY.size :]) if kind == _STATUS), bytes(4))
        return bool(int.from_bytes(status, "big") & _DST_NAT)

    def forget(self, source: Endpoint, target: Endpoint) -> None:
        """Delete a flow's entry, if there is one, so that its next datagram meets the nat rules again."""
        self._ask(_DELETE, _ACK, source, target)

    def _ask(self, kind: int, flags: int, source: Endpoint, target: Endpoint) -> bytes | None:
        """Return the kernel's answer, which is there as soon as `send` returns; None if there is no such entry."""
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        body = _FAMILY.pack(family, 0) + _tuple(family, source, target)
        self._netlink.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body)
        data = self._netlink.recv(_MAX_ANSWER, socket.MSG_DONTWAIT)
        answer = data[_HEADER.size :]
        if _HEADER.unpack_from(data)[1] != _ERROR:
            return answer
        number = -_ERRNO.unpack_from(answer)[0]
        if number in (0, errno.ENOENT):
            return None
        raise OSError(number, f"the kernel's connection tracking does not answer: {os.strerror(number)}")


def _tuple(family: socket.AddressFamily, source: Endpoint, target: Endpoint) -> bytes:
    """Encode the addresses and ports of the flow's first datagram as an attribute."""
    base_kind = 1 if family == socket.AF_INET else 3
    addresses = b"".join(
        _attribute(base_kind + index, socket.inet_pton(family, end.address))
        for index, end in enumerate((source, target))
    )
    ports = b"".join(
        _attribute(kind, value)
        for kind, value in (
            (1, bytes([socket.IPPROTO_UDP])),
            (2, struct.pack("!H", source.port)),
            (3, struct.pack("!H", target.port)),
        )
    )
    inner = _attribute(_ADDRESSES | _NESTED, addresses) + _attribute(_PORTS | _NESTED, ports)
    return _attribute(_ORIGINAL | _NESTED, inner)


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & ~_NESTED, data[_ATTRIBUTE.size : length]
        data = data[max(length + 3 & ~3, _ATTRIBUTE.size) :]
