"""Endpoints as addresses of the socket module."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from ..ports.forward import Endpoint

Address = tuple[str, int] | str
_CREDENTIALS = struct.Struct("3i")


def socket_address(endpoint: Endpoint) -> tuple[socket.AddressFamily, Address]:
    """Return the family and address of an endpoint that is not the wildcard of both families."""
    if endpoint.protocol == "unix":
        return socket.AF_UNIX, endpoint.address
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    return family, (endpoint.address, endpoint.port)


class PeerCredentials(NamedTuple):
    """The process at the other end of a unix socket, as the caller numbers it (struct ucred)."""

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Return who a unix socket is connected to."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return PeerCredentials(*_CREDENTIALS.unpack(raw))


def keep_alive(sock: socket.socket) -> None:
    """Send small messages at once, and notice within about two minutes that the peer is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
