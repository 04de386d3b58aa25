"""Relay bytes between two connected sockets, both ways, passing on half-close and reset.

Small messages are copied. Once a read fills the buffer, that direction is spliced through a large pipe, until a read is
small again. While a receiver is slow, its direction is not read, and holds at most one buffer or one pipe.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import NamedTuple

from .loop import Loop
from .pipes import PIPE_SIZE, Pipe, PipePool
from .splicing import splice

BUFFER_SIZE = 64 * 1024
MIN_SPLICE = 16 * 1024  # a smaller read ends splicing

# Whoever else has a socket may change whether it blocks, so that each call says that it must not.
_DONT_WAIT = int(socket.MSG_DONTWAIT)
_LINGER_NONE = struct.pack("ii", 1, 0)
_NO_LINGER = struct.pack("ii", 0, 0)
_buffer = bytearray(BUFFER_SIZE)
_view = memoryview(_buffer)


def reset(sock: socket.socket) -> None:
    """Make close() of a TCP socket send a reset instead of an orderly end."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)


def do_not_linger(sock: socket.socket) -> None:
    """Make close() of a socket return at once, whatever else who has it asked for."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def close_without_lingering(descriptors: Iterable[int]) -> None:
    """Close sockets and pipes."""
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
        else:
            do_not_linger(sock)
            sock.close()


class Meter:
    """Counts bytes moved."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class RelayState(NamedTuple):
    """A relay that was stopped, for another process to go on with.

    ``descriptors`` are client, target, and both ends of a pipe for each direction that holds bytes: first those from
    the client, ``held[0]`` of them, then those from the target, ``held[1]``. ``ended`` says which side sends no more:
    1 for the client, 2 for the target, 3 for both.
    """

    descriptors: list[int]
    held: tuple[int, int]
    ended: int


_pipes = PipePool()


class _End:
    """One socket of a relay, with what was read from it and not yet written to the other."""

    __slots__ = ("ended", "fd", "mask", "meter", "other", "pipe", "relay", "sock", "suspect", "unsent")
    other: _End

    def __init__(self, relay: Relay, sock: socket.socket, meter: Meter) -> None:
        self.relay = relay
        self.sock = sock
        self.fd = sock.fileno()
        self.meter = meter
        self.mask = EPOLLIN
        self.pipe: Pipe | None = None
        self.unsent = b""
        self.ended = False
        self.suspect = False

    def ready(self, mask: int) -> None:
        if mask & EPOLLIN:
            if self.pipe:
                self._splice(self.pipe)
            else:
                self._copy()
        if mask & EPOLLOUT and not self.relay.closed:
            self.other.drain()
        if mask & (EPOLLERR | EPOLLHUP) and not mask & EPOLLIN and not self.relay.closed:
            self._fail(mask)

    def _fail(self, mask: int) -> None:
        """End the connection on an error, and on a hang-up without end of stream, which comes of disconnecting.

        An event may be older than the wish to read: what is true of the end itself comes again.
        """
        if self.mask & EPOLLIN and not self.suspect:
            self.suspect = True
        elif mask & EPOLLERR or self.mask & EPOLLIN:
            self.relay.abort()
        elif not self.mask:
            self.relay.loop.forget(self.fd)

    def _copy(self) -> None:
        try:
            size = self.sock.recv_into(_buffer, 0, _DONT_WAIT)
        except BlockingIOError:
            return
        except OSError:
            self.relay.abort()
            return
        if not size:
            self._end()
            return
        self.meter.bytes += size
        try:
            sent = self.other.sock.send(_view[:size], _DONT_WAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.relay.abort()
            return
        if sent < size:
            self.unsent = bytes(_view[sent:size])
            self._block()
        elif size == BUFFER_SIZE:
            self.pipe = _pipes.take()

    def _splice(self, pipe: Pipe) -> None:
        try:
            size = splice(self.fd, pipe.writer, PIPE_SIZE)
        except BlockingIOError:  # nothing there, or urgent data, which only a read leaves out
            self.give_back_pipe()
            return
        except OSError:
            self.relay.abort()
            return
        if not size:
            self._end()
            return
        self.meter.bytes += size
        pipe.filled = size
        self.drain()
        if size < MIN_SPLICE and not pipe.filled:
            self.give_back_pipe()

    def drain(self) -> None:
        """Write to the other socket what was read for it."""
        try:
            if self.pipe and self.pipe.filled:
                while self.pipe.filled:
                    self.pipe.filled -= splice(self.pipe.reader, self.other.fd, self.pipe.filled)
            elif self.unsent:
                self.unsent = self.unsent[self.other.sock.send(self.unsent, _DONT_WAIT) :]
        except BlockingIOError:
            pass
        except OSError:
            self.relay.abort()
            return
        if self.unsent or (self.pipe and self.pipe.filled):
            self._block()
        elif not self.mask & EPOLLIN and not self.ended:
            self._watch(self.mask | EPOLLIN)
            self.other._watch(self.other.mask & ~EPOLLOUT)

    def _block(self) -> None:
        if self.mask & EPOLLIN:
            self._watch(self.mask & ~EPOLLIN)
            self.other._watch(self.other.mask | EPOLLOUT)

    def _watch(self, mask: int) -> None:
        self.mask = mask
        self.suspect = False
        self.relay.loop.watch(self.fd, mask, self.ready)

    def _end(self) -> None:
        self.ended = True
        self.give_back_pipe()
        if self.other.ended:
            self.relay.close()
            return
        self._watch(self.mask & ~EPOLLIN)
        try:
            self.other.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.relay.abort()

    def suspend(self) -> list[int]:
        """Put what was not sent into a pipe; return its ends, or nothing if all was sent. Raise OSError."""
        self.relay.loop.forget(self.fd)
        if self.unsent:
            self.pipe = Pipe()
            self.pipe.filled = os.write(self.pipe.writer, self.unsent)
        return [self.pipe.reader, self.pipe.writer] if self.pipe and self.pipe.filled else []

    def resume(self, pipe: Pipe | None, ended: bool) -> None:
        """Go on with what `suspend` left."""
        self.ended = ended
        self.pipe = pipe
        if ended or pipe:
            self._watch(self.mask & ~EPOLLIN)
        if pipe:
            self.other._watch(self.other.mask | EPOLLOUT)

    def give_back_pipe(self) -> None:
        if self.pipe:
            _pipes.give_back(self.pipe)
            self.pipe = None


class Relay:
    """Relays between two connected, non-blocking sockets and owns them; calls ``on_close`` once, when it ends.

    The two ``meters`` count the bytes from the client and those from the target.
    """

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        target: socket.socket,
        meters: tuple[Meter, Meter],
        on_close: Callable[[Relay], None],
    ) -> None:
        self.loop = loop
        self.closed = False
        self._on_close = on_close
        self._client = _End(self, client, meters[0])
        self._target = _End(self, target, meters[1])
        self._client.other, self._target.other = self._target, self._client
        for end in (self._client, self._target):
            loop.watch(end.fd, EPOLLIN, end.ready)

    def suspend(self) -> RelayState:
        """Stop relaying and return what another process needs to go on; the sockets stay open. Raise OSError."""
        self.closed = True
        ends = (self._client, self._target)
        pipes = [descriptor for end in ends for descriptor in end.suspend()]
        held = [end.pipe.filled if end.pipe else 0 for end in ends]
        ended = self._client.ended | self._target.ended << 1
        return RelayState([self._client.fd, self._target.fd, *pipes], (held[0], held[1]), ended)

    def resume(self, state: RelayState) -> None:
        """Go on with what `suspend` returned in another process; raise OSError."""
        pipes = iter(state.descriptors[2:])
        ends = (self._client, self._target)
        for index, (end, held) in enumerate(zip(ends, state.held, strict=True)):
            pipe = _pipes.adopt((next(pipes), next(pipes)), held) if held else None
            end.resume(pipe, bool(state.ended & 1 << index))

    def abort(self) -> None:
        """End both connections with a reset."""
        self._close(reset)

    def close(self) -> None:
        """Close both sockets."""
        self._close(do_not_linger)

    def _close(self, prepare: Callable[[socket.socket], None]) -> None:
        if self.closed:
            return
        self.closed = True
        for end in (self._client, self._target):
            prepare(end.sock)
            end.give_back_pipe()
            self.loop.close(end.sock)
        self._on_close(self)
