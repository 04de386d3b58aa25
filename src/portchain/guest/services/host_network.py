"""What containers in host network mode listen on in the guest's own network."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...preflight.sockets import inodes_of

_CONTAINER = re.compile(r"/docker[/-]([0-9a-f]{64})")
_PROC = Path("/proc")

# sock_diag(7)
_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301
_V6ONLY = 11
_STATES = {"tcp": (socket.IPPROTO_TCP, 1 << 10), "udp": (socket.IPPROTO_UDP, 1 << 7)}
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBxxI48x")
_FOUND = struct.Struct("=B3x2s2x16s16xI24xI")
_ATTRIBUTE = struct.Struct("=HH")
_PATIENCE = 1.0
# A server that goes into the background changes its process while it is looked for.
_LOOKS = 3


class Listener(NamedTuple):
    """A socket that takes what comes: ``address`` is numeric, empty for the wildcard of both families."""

    protocol: str
    address: str
    port: int
    inode: int


def parse_dump(protocol: str, data: bytes) -> tuple[list[Listener], bool]:
    """Read one datagram of an answer of sock_diag: listeners, and whether it is the last; raise OSError.

    Sockets that are bound to one interface are left out.
    """
    found: list[Listener] = []
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        body = data[offset + _HEADER.size : offset + length]
        if kind == _DONE:
            return found, True
        if kind == _ERROR:
            number = -struct.unpack_from("=i", body)[0]
            raise OSError(number, f"guest: the kernel does not list {protocol} sockets: {os.strerror(number)}")
        if kind == _BY_FAMILY:
            found += _listener(protocol, body)
        offset += max(length + 3 & ~3, _HEADER.size)
    return found, False


def _listener(protocol: str, body: bytes) -> Iterator[Listener]:
    family, port, raw, interface, inode = _FOUND.unpack_from(body)
    if interface:
        return
    if family == socket.AF_INET:
        address = socket.inet_ntop(socket.AF_INET, raw[:4])
    else:
        address = socket.inet_ntop(socket.AF_INET6, raw).removeprefix("::ffff:")
        if address == "::" and _attributes(body[_FOUND.size :]).get(_V6ONLY) == b"\0":
            address = ""
    yield Listener(protocol, address, int.from_bytes(port, "big"), inode)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[max(length + 3 & ~3, _ATTRIBUTE.size) :]
    return found


def listeners() -> list[Listener]:
    """Those of the caller's network namespace; raise OSError."""
    found: list[Listener] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(_PATIENCE)
        for protocol, (number, states) in _STATES.items():
            for family in (socket.AF_INET, socket.AF_INET6):
                query = _QUERY.pack(family, number, states)
                diag.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + query)
                done = False
                while not done:
                    some, done = parse_dump(protocol, diag.recv(1 << 16))
                    found += some
    return found


def container_of(cgroups: str) -> str | None:
    """The id of the engine's container whose /proc/PID/cgroup is ``cgroups``: the outermost; None outside of any."""
    found = _CONTAINER.search(cgroups)
    return found[1] if found else None


class HostNetwork:
    """Finds out whose the listeners are. Processes are looked through only when there is a new listener."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._owners: dict[int, str] = {}
        self._looks: dict[int, int] = {}
        self._lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """``protocol``, ``address``, ``port`` and ``container`` of each, sorted; raise OSError."""
        with self._lock:
            found = listeners()
            self._learn({listener.inode for listener in found})
            owned = {(*one[:3], self._owners[one.inode]) for one in found if one.inode in self._owners}
        return [dict(zip(("protocol", "address", "port", "container"), row, strict=True)) for row in sorted(owned)]

    def _learn(self, inodes: set[int]) -> None:
        looks = {inode: self._looks.get(inode, 0) for inode in inodes}
        new = {inode for inode, count in looks.items() if count < _LOOKS and inode not in self._owners}
        self._looks = {inode: count + (inode in new) for inode, count in looks.items()}
        self._owners = {inode: owner for inode, owner in self._owners.items() if inode in inodes}
        if new:
            self._owners |= dict(self._find(new))

    def _find(self, inodes: set[int]) -> Iterator[tuple[int, str]]:
        own = (self._proc / "self/ns/net").stat()
        for process in self._proc.glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                container = container_of((process / "cgroup").read_text())
                if container and os.path.samestat((process / "ns/net").stat(), own):
                    yield from ((inode, container) for inode in inodes_of(process) & inodes)
