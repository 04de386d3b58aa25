"""Packets of one port as they pass interfaces of the guest and of its containers, with the kernel's own times."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from . import spaces
from .spaces import conntrack

_ETH_P_ALL = 3
_SO_TIMESTAMPNS = 35
_OUTGOING = 4
_MOST_INTERFACES = 8
_MOST_PACKETS = 2000
_MOST_TRACKED = 100
_SNAP = 128  # bytes of a packet that are read
_BUFFER = 1 << 20  # bytes
_LINGER = 0.002  # seconds in which what has passed is on its way to us
_TIMES = struct.Struct("=qq")
_COUNTERS = ("iptables-save", "-c", "-t", "nat"), ("ip6tables-save", "-c", "-t", "nat")
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58

Told = dict[str, Any]


class Capture:
    """Listens in on interfaces between `watch` and `caught`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._names: list[str] = []

    def watch(self, request: Told) -> Told:
        """Begin: ``interfaces`` are ``{"pid": PID, "name": NAME}``, pid 0 for the guest's own; raise OSError."""
        self.close()
        for one in request["interfaces"][:_MOST_INTERFACES]:
            name, pid = str(one["name"]), int(one["pid"])
            self._sockets.append(spaces.within(pid, partial(_listen, name)) if pid else _listen(name))
            self._names.append(name)
        return {"counters": counters()}

    def caught(self, request: Told) -> Told:
        """End: the packets to and from ``port``, conntrack's lines on it, and the nat counters.

        Interfaces have the numbers of the request.
        """
        time.sleep(_LINGER)
        wanted = int(request["port"])
        packets = [
            {"interface": index, **packet}
            for index, listener in enumerate(self._sockets)
            for packet in _packets(listener)
            if wanted in (packet["port"], packet["source_port"]) or packet["protocol"] == "icmp"
        ]
        self.close()
        tracked = [line for line in conntrack().splitlines() if f"sport={wanted} " in line][-_MOST_TRACKED:]
        packets.sort(key=lambda one: int(one["time"]))
        return {"packets": packets[:_MOST_PACKETS], "conntrack": "\n".join(tracked), "counters": counters()}

    def close(self) -> None:
        """Listen no more."""
        for one in self._sockets:
            one.close()
        self._sockets, self._names = [], []


def _listen(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    listener.bind((name, _ETH_P_ALL))
    return listener


def counters() -> str:
    """The nat rules of both families with their counters."""
    words: dict[str, Any] = {"capture_output": True, "text": True, "timeout": spaces.SECONDS}
    return "".join(subprocess.run(one, check=False, **words).stdout for one in _COUNTERS)


def _packets(listener: socket.socket) -> Iterator[Told]:
    for _ in range(_MOST_PACKETS):
        try:
            data, ancillary, _, sender = listener.recvmsg(_SNAP, socket.CMSG_SPACE(_TIMES.size))
        except OSError:
            return
        stamp = next((_TIMES.unpack(value) for _, kind, value in ancillary if kind == _SO_TIMESTAMPNS), None)
        found = read(data)
        if stamp and found:
            yield {"time": stamp[0] * 1_000_000_000 + stamp[1], "out": sender[2] == _OUTGOING, **found}


def read(data: bytes) -> Told | None:
    """What matters of an IP packet: protocol, addresses, ports and TCP flags; None of any other."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        length, number = 4 * (data[0] & 15), data[9]
        ends = [socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16)]
    elif version == 6 and len(data) >= 40:
        length, number = 40, data[6]
        ends = [socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24)]
    else:
        return None
    body = data[length:]
    found: Told = {"source": ends[0], "destination": ends[1], "source_port": 0, "port": 0, "flags": 0}
    if number in (_TCP, _UDP) and len(body) >= 8:
        found["source_port"], found["port"] = struct.unpack_from("!HH", body)
        found["flags"] = body[13] if number == _TCP and len(body) >= 14 else 0
        return found | {"protocol": "tcp" if number == _TCP else "udp"}
    if number in (_ICMP, _ICMP6) and body:
        return found | {"protocol": "icmp", "flags": body[0]}
    return None
