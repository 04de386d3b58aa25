"""The channel: a guest's vpnkit-forwarder lends sockets of the guest's network to the guest's relay on the host.

The relay connects a lent socket to a forward's target; the connection begins in the guest's network, and nothing of the
host's goes into the guest.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from .packets import Message, Receiver

VERSION = 3
MAX_LENT = 128  # sockets in one message

# Each kind of socket that is lent ahead: its family, type and protocol.
KINDS = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
}


def kind_of(protocol: str, family: int) -> str:
    """Return the kind of socket that connects to a target of ``protocol``, tcp or udp, and ``family``."""
    return protocol + ("6" if family == socket.AF_INET6 else "4")


@dataclass(frozen=True)
class Want(Message):
    """Host to guest: lend ``count`` sockets of ``kind``."""

    kind: str
    count: int


@dataclass(frozen=True)
class Open(Message):
    """Host to guest: connect to ``target``, a unix socket of the guest, as ``id``."""

    id: int
    target: str


@dataclass(frozen=True)
class Unanswered(Message):
    """Host to guest: the udp flow from ``source`` to ``target`` had no answer, or was ``refused`` (1).

    The two are endpoints as text, such as ``udp:172.17.0.2:53``.
    """

    source: str
    target: str
    refused: int


@dataclass(frozen=True)
class Lend(Message):
    """Guest to host, with sockets of ``kind`` that are neither bound nor connected, at most MAX_LENT."""

    kind: str


@dataclass(frozen=True)
class Opened(Message):
    """Guest to host, with the connected socket: the answer to `Open`."""

    id: int


@dataclass(frozen=True)
class Refused(Message):
    """Guest to host: what was asked for by `Open` cannot be connected."""

    id: int
    error: str


def from_host() -> Receiver:
    """Return a receiver for the guest's end."""
    return Receiver((Want, Open, Unanswered), VERSION)


def from_guest() -> Receiver:
    """Return a receiver for the relay's end."""
    return Receiver((Lend, Opened, Refused), VERSION)
