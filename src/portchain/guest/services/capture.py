"""Packets of one port as they pass interfaces of the guest and of its containers, with the kernel's own times.

The port is the one behind translation: a locally made packet is translated before any interface sees it, so that the
port that was dialled is never on a wire.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from ...forwarder import socket_filter
from . import spaces

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
_COUNTERS = {
    "ip": ("iptables-save", "-c", "-t", "nat"),
    "ip6": ("ip6tables-save", "-c", "-t", "nat"),
}
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_UNREACHABLE = {_ICMP: 3, _ICMP6: 1}
# Until the kernel stamps packets as they come, they are stamped when they are read.
_STAMP_TRIES = 20
_STAMP_WAIT = 0.001  # seconds

Told = dict[str, Any]


class Capture:
    """Listens in on interfaces between `watch` and `caught`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._port = 0

    def watch(self, request: Told) -> Told:
        """Begin: packets to and from ``port``, and what is told of such ones by ICMP; raise OSError, ValueError.

        ``interfaces`` are ``{"pid": PID, "name": NAME}`` each, pid 0 for the guest's own.
        """
        self.close()
        self._port = int(request["port"])
        if not 0 < self._port < 1 << 16:
            raise ValueError(f"{self._port} is no port")
        program = socket_filter.wanting(self._port)
        for one in request["interfaces"][:_MOST_INTERFACES]:
            pid, listen = int(one["pid"]), partial(_listen, str(one["name"]), program)
            self._sockets.append(spaces.within(pid, listen) if pid else listen())
        counted = counters()
        _wait_for_stamps()
        return {"ready": True, "counters": counted}

    def caught(self, _request: Told) -> Told:
        """End: the packets, conntrack's lines on the port, and the nat counters.

        Interfaces have the numbers of the request.
        """
        time.sleep(_LINGER)
        packets = [
            {"interface": index, **packet}
            for index, listener in enumerate(self._sockets)
            for packet in _packets(listener)
            if self._port in (packet["port"], packet["source_port"])
        ]
        self.close()
        tracked = [line for line in spaces.conntrack().splitlines() if f"sport={self._port} " in line][-_MOST_TRACKED:]
        packets.sort(key=lambda one: int(one["time"]))
        return {"packets": packets[:_MOST_PACKETS], "conntrack": "\n".join(tracked), "counters": counters()}

    def close(self) -> None:
        """Listen no more. The kernel takes some 10 ms for each socket, which nobody waits for."""
        closing, self._sockets = self._sockets, []
        if closing:
            threading.Thread(target=_close, args=(closing,)).start()


def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _listen(name: str, program: bytes) -> socket.socket:
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        socket_filter.attach(listener, program)
        listener.bind((name, _ETH_P_ALL))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"interface {name}: {error.strerror}") from None
    return listener


def _wait_for_stamps() -> None:
    """Until the kernel stamps packets when they come; for a moment it does so when they are read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.settimeout(_STAMP_WAIT)
        echo.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        echo.bind(("127.0.0.1", 0))
        for _ in range(_STAMP_TRIES):
            with contextlib.suppress(OSError):
                echo.sendto(b"", echo.getsockname())
                time.sleep(_STAMP_WAIT)
                read_at = time.time_ns()
                stamp = _stamp(echo.recvmsg(1, socket.CMSG_SPACE(_TIMES.size))[1])
                if stamp and stamp < read_at:
                    return


def counters() -> str:
    """The nat rules of both families with their counters."""
    return "".join(spaces.printed(_COUNTERS, []).values())


def _packets(listener: socket.socket) -> Iterator[Told]:
    for _ in range(_MOST_PACKETS):
        try:
            data, ancillary, _, sender = listener.recvmsg(_SNAP, socket.CMSG_SPACE(_TIMES.size))
        except OSError:
            return
        stamp, found = _stamp(ancillary), read(data)
        if stamp and found:
            yield {"time": stamp, "out": sender[2] == _OUTGOING, **found}


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Nanoseconds since the epoch."""
    for _, kind, value in ancillary:
        if kind == _SO_TIMESTAMPNS:
            seconds, rest = _TIMES.unpack(value)
            return int(seconds) * 1_000_000_000 + int(rest)
    return None


def read(data: bytes) -> Told | None:
    """What matters of an IP packet: protocol, addresses, ports and TCP flags; None of any other.

    Of what ICMP says of a packet that did not arrive: the ports of that packet, and ICMP's type as flags.
    """
    found = _header(data)
    if found is None:
        return None
    number, ends, body = found
    told: Told = {"source": ends[0], "destination": ends[1], "source_port": 0, "port": 0, "flags": 0}
    if number in (_TCP, _UDP) and len(body) >= 8:
        told["source_port"], told["port"] = struct.unpack_from("!HH", body)
        told["flags"] = body[13] if number == _TCP and len(body) >= 14 else 0
        return told | {"protocol": "tcp" if number == _TCP else "udp"}
    if body and body[0] == _UNREACHABLE.get(number):
        lost = read(body[8:])
        ports = {name: lost[name] for name in ("source_port", "port")} if lost else {}
        return told | ports | {"protocol": "icmp", "flags": body[0]}
    return None


def _header(data: bytes) -> tuple[int, list[str], bytes] | None:
    """The number of the protocol, both addresses, and what comes after the header."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        ends = [socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16)]
        return data[9], ends, data[4 * max(5, data[0] & 15) :]
    if version == 6 and len(data) >= 40:
        ends = [socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24)]
        return data[6], ends, data[40:]
    return None
