"""Sockets as streams of HTTP messages, in asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Awaitable, Callable, Iterator

from .body import Body, ProtocolError
from .budget import Hold
from .messages import take_head

SMALL, LARGE = 16 * 1024, 256 * 1024  # bytes of a buffer: at first, and once a read fills it
SENT_AT_ONCE = 256 * 1024  # bytes of a send with a deadline
PROGRESS = 64 * 1024  # bytes that a peer has to send, or to read, within the seconds that it is given
SEND_BUFFER = 1024 * 1024  # bytes asked of the kernel, which caps them at net.core.wmem_max
TURN_SECONDS = 0.005  # of reading without waiting, before other tasks get their turn
POLL_SECONDS = 0.001


class LostError(ConnectionError):
    """The far end of ``stream`` is gone."""

    def __init__(self, stream: Stream, what: str) -> None:
        super().__init__(f"{stream.name}: {what}")
        self.stream = stream


class Stream:
    """A connected socket, owned by the stream.

    ``name`` is what errors call the far end. ``room`` is given back when the stream is closed; a large buffer is taken
    from it, if there is enough.
    """

    def __init__(self, sock: socket.socket, name: str, room: Hold | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.socket = sock
        self.name = name
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(SMALL)
        self._unread = memoryview(b"")
        self._turn_ends = 0.0

    async def peek(self) -> memoryview:
        """Return what was received but not consumed; wait if that is nothing; b"" at the end. Raise LostError."""
        if self._unread:
            return self._unread
        try:
            size = await self._loop.sock_recv_into(self.socket, self._buffer)
        except OSError as error:
            raise LostError(self, error.strerror or str(error)) from error
        self._unread = memoryview(self._buffer)[:size]
        if size == len(self._buffer) < LARGE and self._may_grow():
            self._buffer = bytearray(LARGE)
        if self._loop.time() > self._turn_ends:
            await asyncio.sleep(0)
            self._turn_ends = self._loop.time() + TURN_SECONDS
        return self._unread

    def _may_grow(self) -> bool:
        try:
            if self._room:
                self._room.take("a buffer", LARGE)
        except ProtocolError:
            return False
        return True

    def consume(self, count: int) -> None:
        """Drop ``count`` bytes from what `peek` returns."""
        self._unread = self._unread[count:]

    def take_received(self, body: Body) -> bytes:
        """Consume and return what has already been received of a body; raise ProtocolError."""
        count = body.take(self._unread)
        data = bytes(self._unread[:count])
        self.consume(count)
        return data

    async def read_head(
        self, status: int, seconds: float | None = None, hold: Callable[[int], None] = lambda _: None
    ) -> bytes | None:
        """Return the next head, or None at the end of the stream.

        A head must be complete ``seconds`` after its first byte; ``hold`` is called with its length as it grows. Raise
        LostError, what ``hold`` raises, and ProtocolError, mostly with ``status``.
        """
        received, searched = bytearray(), 0
        try:
            async with asyncio.timeout(None) as limit:
                while data := await self.peek():
                    if seconds is not None and limit.when() is None:
                        limit.reschedule(self._loop.time() + seconds)
                    received += data
                    self.consume(len(data))
                    raw = take_head(received, status, searched)
                    hold(len(received if raw is None else raw))
                    if raw:
                        self._unread = memoryview(bytes(received))
                        return raw
                    searched = len(received)
        except TimeoutError:
            raise ProtocolError(408, f"a request's head did not come in {seconds:g} s") from None
        if received:
            raise ProtocolError(status, "the stream ended in the middle of a head")
        return None

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of ``data``; raise LostError."""
        try:
            await self._loop.sock_sendall(self.socket, data)
        except OSError as error:
            raise LostError(self, error.strerror or str(error)) from error

    async def send_held(self, data: bytes, seconds: float) -> None:
        """Send ``data``, which takes memory until it is sent; raise LostError, also for a far end that does not read.

        It has ``seconds`` for each SENT_AT_ONCE bytes.
        """
        for start in range(0, len(data), SENT_AT_ONCE):
            try:
                async with asyncio.timeout(seconds):
                    await self.send(memoryview(data)[start : start + SENT_AT_ONCE])
            except TimeoutError:
                raise LostError(self, f"it has not read what it was sent for {seconds:g} s") from None

    async def wait_until_read(self, seconds: float) -> None:
        """Wait until the far end has read all that was sent, at most ``seconds``."""
        until = self._loop.time() + seconds
        while self._loop.time() < until:
            with contextlib.suppress(OSError):
                if not struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0]:
                    return
            await asyncio.sleep(POLL_SECONDS)

    def shutdown(self, how: int) -> None:
        """Half-close the socket, if the far end is still there."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(how)

    def idle(self) -> bool:
        """Return whether nothing unexpected was received, not even the end of the stream."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._unread
        except OSError:
            pass
        return False

    async def linger(self, seconds: float) -> None:
        """End the stream, but read on for ``seconds``, so that a far end that still writes reads what it was sent."""
        self.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError, LostError):
            async with asyncio.timeout(seconds):
                while data := await self.peek():
                    self.consume(len(data))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        if self._room:
            self._room.release()


async def dial_unix(path: str) -> socket.socket:
    """Connect to a unix socket; raise OSError."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


async def pump(source: Stream, sink: Stream, body: Body) -> None:
    """Pass a body on until it or the source ends; raise LostError, ProtocolError."""
    while not body.complete and (data := await source.peek()):
        count = body.take(data)
        await sink.send(data[:count])
        source.consume(count)


async def collect(
    source: Stream,
    body: Body,
    limit: int,
    hold: Callable[[int], None] = lambda _: None,
    seconds: float | None = None,
) -> bytearray:
    """Return a body's content, or its beginning if that has more than ``limit`` bytes: the body is not complete then.

    ``hold`` is called with the content's length as it grows. Each PROGRESS bytes have to come within ``seconds``. Raise
    LostError, what ``hold`` raises, ProtocolError for a body that is cut short, and TimeoutError.
    """
    content, expected = bytearray(), PROGRESS
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds) as window:
        while not body.complete and len(content) <= limit:
            data = await source.peek()
            if data:
                source.consume(body.take(data, content))
            else:
                body.end()
            hold(len(content))
            if seconds is not None and len(content) >= expected:
                expected = len(content) + PROGRESS
                window.reschedule(loop.time() + seconds)
    return content


async def flow(source: Stream, sink: Stream) -> None:
    """Pass bytes on, then the end of the stream; if the sink accepts no more, stop reading the source."""
    try:
        while data := await source.peek():
            await sink.send(data)
            source.consume(len(data))
        sink.shutdown(socket.SHUT_WR)
    except LostError:
        source.shutdown(socket.SHUT_RD)


async def run_together(*coroutines: Awaitable[object]) -> None:
    """Run all until they have ended or one has failed, which cancels the others; raise what that one raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


class Hangups:
    """Tells when the far end of a unix socket is closed for good; reading cannot tell that from a half-close."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._call_back)

    @contextlib.contextmanager
    def watch(self, stream: Stream, callback: Callable[[], object]) -> Iterator[None]:
        """Call ``callback`` once if the far end hangs up before the block ends."""
        number = stream.socket.fileno()
        self._callbacks[number] = callback
        self._epoll.register(number, 0)
        try:
            yield
        finally:
            self._callbacks.pop(number, None)
            with contextlib.suppress(OSError):
                self._epoll.unregister(number)

    def _call_back(self) -> None:
        for number, _ in self._epoll.poll(0):
            self._epoll.unregister(number)
            if callback := self._callbacks.pop(number, None):
                callback()

    def close(self) -> None:
        """Stop watching."""
        if self._epoll.closed:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
