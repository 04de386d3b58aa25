"""Capture a port's packets as they pass interfaces of the guest and of its containers, with the kernel's time stamps.

Each interface is watched for the port behind translation: the kernel translates a packet of its own before any
interface sees it, so the port that was dialled is never on a wire.
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

from ....net import socket_filter
from . import network_spaces

_ETH_P_ALL = 3
_SO_TIMESTAMPNS = 35
_OUTGOING = 4
_MAX_INTERFACES = 8
_MAX_PACKETS = 2000
_MAX_CONNTRACK_LINES = 100
_SNAP = 128  # bytes of a packet that are read
_BUFFER = 1 << 20  # bytes
_LINGER = 0.002  # seconds until packets that have passed can be read
_TIMES = struct.Struct("=qq")
_COUNTERS = {
    "ip": ("iptables-save", "-c", "-t", "nat"),
    "ip6": ("ip6tables-save", "-c", "-t", "nat"),
}
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_UNREACHABLE = {_ICMP: 3, _ICMP6: 1}
# When stamping is switched on, the kernel at first stamps packets when they are read, not when they arrive.
_STAMP_TRIES = 20
_STAMP_WAIT = 0.001  # seconds

Json = dict[str, Any]


class Capture:
    """Captures packets on interfaces between `start` and `finish`."""

    def __init__(self) -> None:
        self._sockets: list[tuple[socket.socket, int]] = []

    def start(self, request: Json) -> Json:
        """Begin to capture packets to and from ports, and ICMP errors about them; raise OSError, ValueError.

        ``interfaces`` are ``{"pid": PID, "name": NAME, "port": PORT}`` each, pid 0 for the guest's own.
        """
        self.close()
        for interface in request["interfaces"][:_MAX_INTERFACES]:
            pid, port = int(interface["pid"]), int(interface["port"])
            if not 0 < port < 1 << 16:
                raise ValueError(f"{port} is no port")
            listen = partial(_listen, str(interface["name"]), socket_filter.match_port(port))
            self._sockets.append((network_spaces.within(pid, listen) if pid else listen(), port))
        before = nat_counters()
        _wait_for_arrival_stamps()
        return {"ready": True, "counters": before}

    def finish(self, _request: Json) -> Json:
        """Stop capturing; return the packets, conntrack's lines about the ports, and the nat counters.

        Each packet's ``interface`` is an index into the request's interfaces.
        """
        time.sleep(_LINGER)
        packets = [
            {"interface": index, **packet}
            for index, (listener, port) in enumerate(self._sockets)
            for packet in _packets(listener)
            if port in (packet["port"], packet["source_port"])
        ]
        answering = {f"sport={port}" for _, port in self._sockets}
        self.close()
        tracked = [line for line in network_spaces.conntrack().splitlines() if answering & set(line.split())]
        packets.sort(key=lambda packet: int(packet["time"]))
        conntrack = "\n".join(tracked[-_MAX_CONNTRACK_LINES:])
        return {"packets": packets[:_MAX_PACKETS], "conntrack": conntrack, "counters": nat_counters()}

    def close(self) -> None:
        """Close the sockets, in the background: the kernel takes some 10 ms for each."""
        closing, self._sockets = self._sockets, []
        if closing:
            threading.Thread(target=_close_all, args=([listener for listener, _ in closing],)).start()


def _close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


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


def _wait_for_arrival_stamps() -> None:
    """Wait until the kernel stamps packets when they arrive, not when they are read."""
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


def nat_counters() -> str:
    """Return the nat rules of both families with their counters, as iptables-save prints them."""
    return "".join(network_spaces.run_all(_COUNTERS, []).values())


def _packets(listener: socket.socket) -> Iterator[Json]:
    for _ in range(_MAX_PACKETS):
        try:
            data, ancillary, _, sender = listener.recvmsg(_SNAP, socket.CMSG_SPACE(_TIMES.size))
        except OSError:
            return
        stamp, packet = _stamp(ancillary), parse_packet(data)
        if stamp and packet:
            yield {"time": stamp, "out": sender[2] == _OUTGOING, **packet}


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the time stamp in nanoseconds since the epoch, if there is one."""
    for _, kind, value in ancillary:
        if kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMES.unpack(value)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None


def parse_packet(data: bytes) -> Json | None:
    """Return an IP packet's protocol, addresses, ports and TCP flags; None if it is neither TCP, UDP nor ICMP error.

    Of an ICMP error: the ports of the packet that it is about, and ICMP's type as flags.
    """
    header = _parse_header(data)
    if header is None:
        return None
    number, addresses, body = header
    packet: Json = {"source": addresses[0], "destination": addresses[1], "source_port": 0, "port": 0, "flags": 0}
    if number in (_TCP, _UDP) and len(body) >= 8:
        packet["source_port"], packet["port"] = struct.unpack_from("!HH", body)
        packet["flags"] = body[13] if number == _TCP and len(body) >= 14 else 0
        return packet | {"protocol": "tcp" if number == _TCP else "udp"}
    if body and body[0] == _UNREACHABLE.get(number):
        lost = parse_packet(body[8:])
        ports = {name: lost[name] for name in ("source_port", "port")} if lost else {}
        return packet | ports | {"protocol": "icmp", "flags": body[0]}
    return None


def _parse_header(data: bytes) -> tuple[int, list[str], bytes] | None:
    """Return the protocol's number, source and destination addresses, and what follows the header."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        addresses = [socket.inet_ntop(socket.AF_INET, data[offset : offset + 4]) for offset in (12, 16)]
        return data[9], addresses, data[4 * max(5, data[0] & 15) :]
    if version == 6 and len(data) >= 40:
        addresses = [socket.inet_ntop(socket.AF_INET6, data[offset : offset + 16]) for offset in (8, 24)]
        return data[6], addresses, data[40:]
    return None
