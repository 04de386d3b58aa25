"""The clients of a udp forward: UDP has no connections, so who was heard lately counts as one. Pure."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

CLIENTS = 1024  # of one forward at a time
IDLE_SECONDS = 90.0

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most ``limit`` values by key. ``on_leave`` is called with those that leave: the one used longest ago for a
    new one that finds no room, and those idle for ``idle`` seconds. Times are seconds on one clock."""

    def __init__(self, on_leave: Callable[[Value], None], limit: int = CLIENTS, idle: float = IDLE_SECONDS) -> None:
        self._on_leave = on_leave
        self._limit = limit
        self._idle = idle
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._used: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._values)

    def use(self, key: Key, now: float) -> Value | None:
        """The value, used just now."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
            self._used[key] = now
        return value

    def add(self, key: Key, value: Value, now: float) -> None:
        """Take one in whose key is new."""
        while len(self._values) >= self._limit:
            self._leave()
        self._values[key] = value
        self._used[key] = now

    def expire(self, now: float) -> None:
        """Let the idle ones leave."""
        while self._values and now - self._used[next(iter(self._values))] >= self._idle:
            self._leave()

    def clear(self) -> None:
        """Let all leave."""
        while self._values:
            self._leave()

    def _leave(self) -> None:
        key, value = self._values.popitem(last=False)
        del self._used[key]
        self._on_leave(value)


def answer_to(peer: bytes, family: int) -> bytes:
    """From where a datagram came and went to, as `udp_batch` has it, where its answer goes and comes from.

    The answer leaves by whichever interface leads there, unless the address means nothing without its interface.
    """
    if family == socket.AF_INET:  # struct in_pktinfo: interface, local address, address in the header
        return peer[:-12] + struct.pack("=I", 0) + peer[-8:]
    local = ipaddress.IPv6Address(peer[-20:-4])
    if local.is_multicast:
        return peer[:-20] + bytes(16) + peer[-4:]
    return peer if local.is_link_local else peer[:-4] + bytes(4)
