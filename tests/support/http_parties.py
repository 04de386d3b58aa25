"""A client and an engine of a few lines each, with the proxy between them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from portchain.host.docker_api.exchange import Handler, Limits
from portchain.host.docker_api.proxy import Proxy, dial_unix

SECONDS = 10.0
LONGEST_HEAD = 2 * 1024 * 1024
GET = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
LAST = b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def message(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head
    return int(head.split()[1]), json.loads(body)["message"]


class Peer:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next head; empty when the connection ended."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def get(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        return await self.reader.read()

    async def put(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, data: bytes) -> bytes:
        """Send, and return what comes before the other end closes."""
        await self.put(data)
        return await self.rest()

    def end(self) -> None:
        """Half-close."""
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()


class Scene:
    """The proxy and its engine, which plays ``part`` with each connection."""

    def __init__(self, directory: Path, part: Callable[[Peer], Awaitable[None]]) -> None:
        self.path = str(directory / "docker.sock")
        self.engine_path = str(directory / "engine.sock")
        self.connections = 0
        self.proxy: Proxy
        self.clients: list[Peer] = []
        self._part = part

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._part(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def client(self) -> Peer:
        peer = Peer(*await asyncio.open_unix_connection(self.path, limit=LONGEST_HEAD))
        self.clients.append(peer)
        return peer

    async def ask(self, data: bytes) -> bytes:
        return await (await self.client()).ask(data)


async def obliging(peer: Peer) -> None:
    """Answers every request without a body, in its own words, and closes when asked to."""
    while head := await peer.head():
        target = head.split()[1]
        last = b"Connection: close" in head
        close = b"Connection: close\r\n" if last else b""
        await peer.put(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (close, len(target), target))
        if last:
            return


async def silent(peer: Peer) -> None:
    """Hears the client out."""
    await peer.rest()


@asynccontextmanager
async def scene(
    part: Callable[[Peer], Awaitable[None]],
    handlers: dict[str, Handler] | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Scene]:
    """The proxy serving, with ``handlers`` by path."""
    with tempfile.TemporaryDirectory() as directory:
        scene = Scene(Path(directory), part)
        engine = await asyncio.start_unix_server(scene.play, scene.engine_path, limit=LONGEST_HEAD)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(scene.path)
        listener.listen()
        dial, route = lambda: dial_unix(scene.engine_path), lambda _method, path: (handlers or {}).get(path)
        scene.proxy = Proxy(dial, limits)
        scene.proxy.serve(listener, route)
        try:
            yield scene
        finally:
            for client in scene.clients:
                client.close()
            await settle()
            assert len(asyncio.all_tasks()) <= 2, "nothing but the test and the accepting goes on without clients"
            await scene.proxy.close()
            listener.close()
            engine.close()
            await engine.wait_closed()


async def settle() -> None:
    """Wait until nothing but the test and the proxy's accepting goes on, if it comes to that."""
    for _ in range(2000):
        if len(asyncio.all_tasks()) <= 2:
            return
        await asyncio.sleep(0.001)


def descriptors() -> set[tuple[str, str]]:
    """What this process has open: numbers and what they stand for."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that was read from
            found.add((one.name, str(one.readlink())))
    return found


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an asynchronous test, within time and without anything left behind or unnoticed."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        complaints: list[dict[str, object]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
            async with asyncio.timeout(SECONDS):
                await test(*args, **kwargs)
            await asyncio.sleep(0)

        before = descriptors()
        gc.freeze()  # what there is by now, so that only what the test leaves is looked at
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            asyncio.run(main())
            gc.collect()
        assert not complaints
        assert not [str(warning.message) for warning in caught if "socket.socket" in str(warning.message)]
        assert not descriptors() - before

    return run
