"""Receive and send many datagrams at a time, by recvmmsg and sendmmsg, which Python does not offer. 64-bit Linux only.

A packet is received into a slot and sent from it. Each kind of socket uses some of a slot's parts:

    peer's address | pktinfo | client's id | payload
    `Peer` views: peer, pktinfo, payload. `PAIR`: id, payload. `CONNECTED`: payload.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

SLOTS = 32
MAX_PAYLOAD = 65527  # bytes: UDP over IPv6, IPv4 takes 20 fewer
ID = struct.Struct("=I")

_PEER_AT = 32  # the address ends here, and pktinfo begins
_ID_AT = 72
_PAYLOAD_AT = _ID_AT + ID.size
_SLOT = 65608
_MESSAGE = struct.Struct("@PIPNPNi4xI4x")  # struct mmsghdr
_SIZES = struct.Struct("@48xi4xI4x")  # its flags and length
_IOVEC = struct.Struct("@PN")
_CMSG_HEADER = 16
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)
_DISCONNECTED = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)

_SEND_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)  # as plain numbers: enum's arithmetic is slow
_RECEIVE_FLAGS = int(socket.MSG_DONTWAIT)
_TRUNCATED = int(socket.MSG_TRUNC)

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
_recvmmsg.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p
_sendmmsg.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int


@dataclass(frozen=True)
class SlotView:
    """The parts of a slot that a kind of socket uses: sizes of address and pktinfo, and where the data begins."""

    name: int = 0
    pktinfo: int = 0
    data_at: int = _PAYLOAD_AT

    @property
    def control(self) -> int:
        return self.pktinfo and _CMSG_HEADER + self.pktinfo


PAIR = SlotView(data_at=_ID_AT)
CONNECTED = SlotView()
PEER = {socket.AF_INET: SlotView(name=16, pktinfo=12), socket.AF_INET6: SlotView(name=28, pktinfo=20)}


@dataclass(frozen=True)
class SendResult:
    """Numbers of packets and of bytes of payload that were sent, and the last errno of the others, or 0."""

    packets: int
    bytes: int
    error: int


class Batch:
    """The slots. A packet stays in its slot until another is received into it."""

    def __init__(self) -> None:
        self._memory = bytearray(SLOTS * _SLOT)
        self._iovecs = bytearray(SLOTS * _IOVEC.size)
        self._messages = bytearray(SLOTS * _MESSAGE.size)
        self._view = memoryview(self._memory)
        self._messages_view = memoryview(self._messages)
        self._start = _address(self._memory)
        self._messages_start = _address(self._messages)
        self._heads: dict[SlotView, list[bytes]] = {}
        self._empty: dict[SlotView, tuple[bytes, bytes]] = {}
        for view in (PAIR, CONNECTED, *PEER.values()):
            self._prepare(view)

    def _prepare(self, view: SlotView) -> None:
        heads, iovecs = [], []
        for slot in range(SLOTS):
            start = self._start + slot * _SLOT
            name = start + _PEER_AT - view.name if view.name else 0
            control = start + _PEER_AT if view.control else 0
            iovec = _address(self._iovecs) + slot * _IOVEC.size
            heads.append(_MESSAGE.pack(name, view.name, iovec, 1, control, view.control, 0, 0))
            iovecs.append(_IOVEC.pack(start + view.data_at, MAX_PAYLOAD + _PAYLOAD_AT - view.data_at))
        self._heads[view] = heads
        self._empty[view] = b"".join(heads), b"".join(iovecs)

    def receive(self, sock: socket.socket, view: SlotView, first: int = 0, limit: int = SLOTS) -> list[int]:
        """Receive at most ``limit`` packets into slots from ``first`` on; return the sizes of their data.

        The size is -1 for a packet that was too long. Raise OSError; BlockingIOError if there is no packet.
        """
        if limit == 1 and view is CONNECTED:
            return [sock.recv_into(self._data(first, view), flags=_RECEIVE_FLAGS)]
        messages, iovecs = self._empty[view]
        window = slice(first * _MESSAGE.size, (first + limit) * _MESSAGE.size)
        self._messages[window] = messages[window]
        self._iovecs[:] = iovecs
        count = _recvmmsg(sock.fileno(), self._messages_start + window.start, limit, _RECEIVE_FLAGS, None)
        if count < 0:
            raise _error()
        sizes = _SIZES.iter_unpack(self._messages_view[window.start : window.start + count * _MESSAGE.size])
        return [-1 if flags & _TRUNCATED else size for flags, size in sizes]

    def send(self, sock: socket.socket, view: SlotView, packets: Sequence[tuple[int, int]]) -> SendResult:
        """Send slots, each with the size of its payload, without waiting; drop what the socket has no room for."""
        if len(packets) == 1 and not view.name:
            return self._send_one(sock, view, *packets[0])
        heads, extra = self._heads[view], _PAYLOAD_AT - view.data_at
        for slot, size in packets:
            offset = self._start + slot * _SLOT + view.data_at
            _IOVEC.pack_into(self._iovecs, slot * _IOVEC.size, offset, size + extra)
        self._messages[: len(packets) * _MESSAGE.size] = b"".join([heads[slot] for slot, _ in packets])
        fd, done, dropped, sent_bytes, error, retry = sock.fileno(), 0, 0, 0, 0, True
        while done < len(packets):
            count = _sendmmsg(fd, self._messages_start + done * _MESSAGE.size, len(packets) - done, _SEND_FLAGS)
            if count > 0:
                sent_bytes += sum([size for _, size in packets[done : done + count]])
                done, retry = done + count, True
                continue
            error = ctypes.get_errno()
            if error == errno.ECONNREFUSED and retry:  # of an earlier datagram
                retry = False
                continue
            skipped = len(packets) - done if error in _FULL or error in _DISCONNECTED else 1
            done, dropped, retry = done + skipped, dropped + skipped, True
        return SendResult(len(packets) - dropped, sent_bytes, error)

    def _send_one(self, sock: socket.socket, view: SlotView, slot: int, size: int) -> SendResult:
        data = self._data(slot, view)[: size + _PAYLOAD_AT - view.data_at]
        refused = 0
        for _ in range(2):
            try:
                sock.send(data, _SEND_FLAGS)
            except ConnectionRefusedError:  # of an earlier datagram
                refused = errno.ECONNREFUSED
            except OSError as error:
                return SendResult(0, 0, error.errno or 0)
            else:
                return SendResult(1, size, refused)
        return SendResult(0, 0, refused)

    def _data(self, slot: int, view: SlotView) -> memoryview:
        start = slot * _SLOT
        return self._view[start + view.data_at : start + _PAYLOAD_AT + MAX_PAYLOAD]

    def peer(self, slot: int, view: SlotView) -> bytes:
        """Return the packet's sender and the local address it was sent to, as raw bytes."""
        start = slot * _SLOT + _PEER_AT
        return bytes(self._memory[start - view.name : start + view.control])

    def set_peer(self, slot: int, view: SlotView, peer: bytes) -> None:
        """Set the receiver and the local address to send from, in the form that `peer` returns."""
        start = slot * _SLOT + _PEER_AT
        self._memory[start - view.name : start + view.control] = peer

    def id(self, slot: int) -> int:
        """Return the client's id; valid for a packet of at least its size."""
        number: int = ID.unpack_from(self._memory, slot * _SLOT + _ID_AT)[0]
        return number

    def set_id(self, slot: int, number: int) -> None:
        """Write the client's id before the payload."""
        ID.pack_into(self._memory, slot * _SLOT + _ID_AT, number)


def _address(memory: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory))


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
