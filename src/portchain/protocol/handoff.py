"""The handoff: a guest's forwarder passes listening sockets to the guest's relay, which reports on them.

Both are processes of the host. A forward's id is its listen endpoint as text, so that both use the same id even after
one of them was restarted.
"""

from __future__ import annotations

from dataclasses import dataclass

from .packets import Message, Receiver

VERSION = 3
MAX_DESCRIPTORS = 6  # of one message


@dataclass(frozen=True)
class Listen(Message):
    """To the relay, with the bound socket: accept on it, or receive from it, and lead its clients to ``target``.

    It replaces an earlier one with the same id. ``proxy_protocol`` is the version that tells the target about each
    client, or empty.
    """

    id: str
    target: str
    proxy_protocol: str = ""


@dataclass(frozen=True)
class Close(Message):
    """To the relay: the forward is gone, and its connections with it."""

    id: str


@dataclass(frozen=True)
class Listening(Message):
    """From the relay: clients are being served, because the guest is connected."""

    id: str


@dataclass(frozen=True)
class Closed(Message):
    """From the relay: its copy of the socket is closed."""

    id: str


@dataclass(frozen=True)
class Failed(Message):
    """From the relay: the forward cannot be served."""

    id: str
    error: str


@dataclass(frozen=True)
class Counters(Message):
    """From the relay: what was added since the last report.

    ``received`` bytes went from client to target, ``sent`` bytes back; ``dropped`` datagrams were lost; ``error`` is
    the last one, or empty. ``active`` is no difference, but how many connections are open now.
    """

    id: str
    connections: int
    active: int
    received: int
    sent: int
    dropped: int
    error: str


@dataclass(frozen=True)
class Connection(Message):
    """From a relay that ends, and to the one that follows: a connection, with the descriptors of its `RelayState`.

    The three numbers are those of `RelayState`: bytes held from the client and from the target, and who has ended.
    """

    id: str
    from_client: int
    from_target: int
    ended: int


@dataclass(frozen=True)
class UdpClient(Message):
    """From a relay that ends, and to the one that follows: a client of a udp forward, with its socket in the guest.

    ``peer`` is where it sends from and to, the bytes of `datagram_batches.Batch.peer` in hexadecimal.
    """

    id: str
    peer: str


@dataclass(frozen=True)
class Serve(Message):
    """To the relay: all forwards, and the connections of the relay before, have been sent."""


@dataclass(frozen=True)
class GuestConnected(Message):
    """From the relay: the guest's vpnkit-forwarder, ``pid`` as the host numbers it, is there since now."""

    pid: int


@dataclass(frozen=True)
class GuestLost(Message):
    """From the relay: the guest's vpnkit-forwarder has gone."""

    reason: str


def from_forwarder() -> Receiver:
    """Return a receiver for the relay's end."""
    return Receiver((Listen, Close, Connection, UdpClient, Serve), VERSION)


def from_relay() -> Receiver:
    """Return a receiver for the forwarder's end."""
    kinds = (Listening, Closed, Failed, Counters, Connection, UdpClient, GuestConnected, GuestLost)
    return Receiver(kinds, VERSION)
