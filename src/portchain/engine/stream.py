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
from .http1 import take_head

SMALL, LARGE = 16 * 1024, 256 * 1024  # bytes of a buffer: at first, and once a read fills it
SEND_BUFFER = 1024 * 1024  # bytes asked of the kernel, which caps them at net.core.wmem_max
TURN = 1024 * 1024  # bytes until others are let have their turn
LINGER_SECONDS = 1.0
POLL_SECONDS = 0.001


class LostError(ConnectionError):
    """The far end of ``stream`` is gone."""

    def __init__(self, stream: Stream, what: str) -> None:
        super().__init__(f"{stream.name}: {what}")
        self.stream = stream


class Stream:
    """A connected socket, the stream's to close. ``name`` is what errors call the far end."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.socket = sock
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(SMALL)
        self._unread = memoryview(b"")
        self._turn = 0

    async def peek(self) -> memoryview:
        """What was received and not consumed, more if that is nothing; empty at the end. Raise LostError."""
        if self._unread:
            return self._unread
        try:
            size = await self._loop.sock_recv_into(self.socket, self._buffer)
        except OSError as error:
            raise LostError(self, error.strerror or str(error)) from error
        self._unread = memoryview(self._buffer)[:size]
        if size == len(self._buffer) < LARGE:
            self._buffer = bytearray(LARGE)
        self._turn += size
        if self._turn > TURN:
            self._turn = 0
            await asyncio.sleep(0)
        return self._unread

    def consume(self, count: int) -> None:
        """Take so many bytes off what `peek` gives."""
        self._unread = self._unread[count:]

    def received(self, body: Body) -> bytes:
        """Take what has come of a body already. Raise ProtocolError."""
        count = body.take(self._unread)
        data = bytes(self._unread[:count])
        self.consume(count)
        return data

    async def read_head(self, status: int, seconds: float | None = None) -> bytes | None:
        """The next head, or None at the end of the stream.

        A head once begun is to be whole after ``seconds``. Raise LostError, and ProtocolError, mostly with ``status``.
        """
        received = bytearray()
        try:
            async with asyncio.timeout(None) as limit:
                while data := await self.peek():
                    if seconds is not None and limit.when() is None:
                        limit.reschedule(self._loop.time() + seconds)
                    received += data
                    self.consume(len(data))
                    if raw := take_head(received, status):
                        self._unread = memoryview(bytes(received))
                        return raw
        except TimeoutError:
            raise ProtocolError(408, f"a request's head did not come in {seconds:g} s") from None
        if received:
            raise ProtocolError(status, "the stream ended in the middle of a head")
        return None

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of it; raise LostError."""
        try:
            await self._loop.sock_sendall(self.socket, data)
        except OSError as error:
            raise LostError(self, error.strerror or str(error)) from error

    async def taken(self, seconds: float) -> None:
        """Wait until the far end has read all that was sent, or for so many seconds."""
        until = self._loop.time() + seconds
        while self._loop.time() < until:
            with contextlib.suppress(OSError):
                if not struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0]:
                    return
            await asyncio.sleep(POLL_SECONDS)

    def shutdown(self, how: int) -> None:
        """Half-close, as far as the far end is still there."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(how)

    def idle(self) -> bool:
        """Whether nothing came that was not asked for, not even the end."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._unread
        except OSError:
            pass
        return False

    async def linger(self) -> None:
        """End the stream, but take in more for a moment: who still writes gets to read what it was sent."""
        self.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError, LostError):
            async with asyncio.timeout(LINGER_SECONDS):
                while data := await self.peek():
                    self.consume(len(data))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


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
    """Pass a body on, up to its end or the source's. Raise LostError, ProtocolError."""
    while not body.complete and (data := await source.peek()):
        count = body.take(data)
        await sink.send(data[:count])
        source.consume(count)


async def collect(source: Stream, body: Body, limit: int) -> bytearray:
    """A body's content; the body is not complete afterwards if that has more than ``limit`` bytes.

    Raise LostError, and ProtocolError for a body cut short.
    """
    content = bytearray()
    while not body.complete and len(content) <= limit:
        data = await source.peek()
        if data:
            source.consume(body.take(data, content))
        else:
            body.end()
    return content


async def flow(source: Stream, sink: Stream) -> None:
    """Pass bytes on, then the end of the stream; where the sink takes no more, neither does the source."""
    try:
        while data := await source.peek():
            await sink.send(data)
            source.consume(len(data))
        sink.shutdown(socket.SHUT_WR)
    except LostError:
        source.shutdown(socket.SHUT_RD)


async def together(*coroutines: Awaitable[object]) -> None:
    """Run all until they ended or one failed, which ends the others; raise what that one did."""
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
    """Tells when a unix socket's far end is closed for good, which reading alone cannot tell from a half-close."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._tell)

    @contextlib.contextmanager
    def watching(self, stream: Stream, callback: Callable[[], object]) -> Iterator[None]:
        """Call back once when the far end hangs up meanwhile."""
        number = stream.socket.fileno()
        self._callbacks[number] = callback
        self._epoll.register(number, 0)
        try:
            yield
        finally:
            self._callbacks.pop(number, None)
            with contextlib.suppress(OSError):
                self._epoll.unregister(number)

    def _tell(self) -> None:
        for number, _ in self._epoll.poll(0):
            self._epoll.unregister(number)
            if callback := self._callbacks.pop(number, None):
                callback()

    def close(self) -> None:
        """Watch no more."""
        if self._epoll.closed:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
