"""The clients of a udp forward. UDP has no connections, so a client is a peer that sent something lately. Pure."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

MAX_CLIENTS = 1024  # of one forward
IDLE_SECONDS = 90.0
DATAGRAM_BUFFER = 1024 * 1024  # bytes each way of a udp socket; the kernel caps it at net.core.{r,w}mem_max

Key = TypeVar("Key")
Value = TypeVar("Value")


class RecentlyUsed(Generic[Key, Value]):
    """At most ``limit`` values by key, the least recently used of which makes room for a new one.

    ``on_leave`` is called with each value that is removed. `expire` removes those not used for ``idle`` seconds. Times
    are seconds on one clock.
    """

    def __init__(self, on_leave: Callable[[Value], None], limit: int = MAX_CLIENTS, idle: float = IDLE_SECONDS) -> None:
        self._on_leave = on_leave
        self._limit = limit
        self._idle = idle
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._used: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values.values())

    def use(self, key: Key, now: float) -> Value | None:
        """Return the value and note that it was used; None if there is none."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
            self._used[key] = now
        return value

    def add(self, key: Key, value: Value, now: float) -> None:
        """Add a value whose key is new."""
        while len(self._values) >= self._limit:
            self._remove_oldest()
        self._values[key] = value
        self._used[key] = now

    def expire(self, now: float) -> None:
        """Remove the values that have been idle for too long."""
        while self._values and now - self._used[next(iter(self._values))] >= self._idle:
            self._remove_oldest()

    def remove(self, key: Key) -> None:
        """Remove a value that is there."""
        value = self._values.pop(key)
        del self._used[key]
        self._on_leave(value)

    def clear(self) -> None:
        """Remove all values."""
        while self._values:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        key, value = self._values.popitem(last=False)
        del self._used[key]
        self._on_leave(value)


def reply_peer(peer: bytes, family: int) -> bytes:
    """Return the peer bytes, in the form of `datagram_batches`, with which a datagram from ``peer`` is answered.

    The answer leaves by whichever interface leads there, unless the address is valid only on its interface.
    """
    if family == socket.AF_INET:  # struct in_pktinfo: interface, local address, address in the header
        return peer[:-12] + struct.pack("=I", 0) + peer[-8:]
    local = ipaddress.IPv6Address(peer[-20:-4])
    if local.is_multicast:
        return peer[:-20] + bytes(16) + peer[-4:]
    return peer if local.is_link_local else peer[:-4] + bytes(4)
