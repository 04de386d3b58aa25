"""Programs whose output a page shows as it comes: shells and logs, in containers and in the guest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from .. import daemon
from ..engine.body import Body, ProtocolError, UntilClose
from ..engine.http1 import Answer, Headers, render
from ..engine.stream import Stream, collect, dial_unix
from .terminal import Size
from .text import Pieces, Plain

SECONDS = 15.0
MAX_MESSAGE = 1 << 16  # bytes
_PIECE = 1 << 14  # bytes

AtEnd = Callable[[], Awaitable[object]]
AtSize = Callable[[Size], Awaitable[object]]


class ProgramError(Exception):
    """It cannot be run; the message says which side, what, and why."""


class Program(Protocol):
    """A running program."""

    def output(self) -> AsyncIterator[bytes]:
        """What it prints, until it ends; to be read once. Raise OSError."""

    async def write(self, data: bytes) -> None:
        """To its standard input; raise OSError where it takes no more."""

    async def resize(self, size: Size) -> None:
        """Give its terminal another size, if it has one."""

    async def end(self) -> None:
        """End it, whatever it does."""


async def text(program: Program) -> AsyncIterator[str]:
    """The output as text."""
    plain = Plain()
    async for data in program.output():
        if told := plain.take(data):
            yield told
    if told := plain.take(b"", end=True):
        yield told


class InGuest:
    """A program in the guest, through its ssh; ``at_end`` is called when it is to end before its time."""

    def __init__(self, process: asyncio.subprocess.Process, at_end: AtEnd | None) -> None:
        self._process = process
        self._at_end = at_end

    @classmethod
    async def start(cls, guest: str, command: str, at_end: AtEnd | None = None) -> InGuest:
        """Have the guest's shell run a command. Raise ProgramError."""
        pipe = asyncio.subprocess.PIPE
        return cls(await ssh(guest, "-T", command, pipe, pipe), at_end)

    async def output(self) -> AsyncIterator[bytes]:
        """As Program's."""
        assert self._process.stdout
        while data := await self._process.stdout.read(_PIECE):
            yield data

    async def write(self, data: bytes) -> None:
        """As Program's."""
        assert self._process.stdin
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def resize(self, size: Size) -> None:
        """As Program's."""

    async def end(self) -> None:
        """As Program's."""
        if self._process.returncode is not None:
            return
        try:
            if self._at_end:
                await self._at_end()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self.status()

    async def status(self) -> int:
        """Its exit status, once it has ended."""
        return await self._process.wait()


async def ssh(guest: str, option: str, command: str, stdin: int, stdout: int) -> asyncio.subprocess.Process:
    """Ssh into the guest, standard error where the output goes. Raise ProgramError."""
    words = ("ssh", option, "-F", str(daemon.RUN / guest / "ssh_config"), guest, command)
    try:
        return await asyncio.create_subprocess_exec(
            *words, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise ProgramError(f"host: ssh: {error.strerror}") from None


async def run(guest: str, command: str, seconds: float = SECONDS) -> tuple[int, str]:
    """A command in the guest to its end: exit status and output, MAX_MESSAGE of it. Raise ProgramError."""
    program = await InGuest.start(guest, command)
    said = ""
    try:
        async with asyncio.timeout(seconds):
            async for piece in text(program):
                said += piece[: MAX_MESSAGE - len(said)]
            return await program.status(), said
    except TimeoutError:
        raise ProgramError(f"guest {guest}: what was asked for is not done after {seconds:g} s") from None
    finally:
        await program.end()


class FromEngine:
    """A stream of the engine's: a program in a container, or a container's log; multiplexed unless ``tty``."""

    at_end: AtEnd | None = None
    at_size: AtSize | None = None

    def __init__(self, stream: Stream, body: Body, tty: bool) -> None:
        self._stream = stream
        self._body = body
        self._tty = tty

    async def output(self) -> AsyncIterator[bytes]:
        """As Program's."""
        pieces = Pieces()
        while not self._body.complete and (data := await self._stream.peek()):
            content = bytearray()
            self._stream.consume(self._body.take(data, content))
            for piece in [bytes(content)] if self._tty else pieces.take(bytes(content)):
                yield piece

    async def write(self, data: bytes) -> None:
        """As Program's."""
        await self._stream.send(data)

    async def resize(self, size: Size) -> None:
        """As Program's."""
        if self.at_size:
            await self.at_size(size)

    async def end(self) -> None:
        """As Program's."""
        self._stream.close()
        if self.at_end:
            await self.at_end()


async def from_engine(path: str, url: str, sent: object = None, tty: bool = False) -> FromEngine:
    """Have the engine on socket ``path`` begin with a stream: GET, or POST where JSON is ``sent``.

    Raise ProgramError with what it says.
    """
    method = "GET" if sent is None else "POST"
    content = b"" if sent is None else json.dumps(sent).encode()
    head = Headers([("Host", "docker"), ("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    if sent is not None:
        head += [("Connection", "Upgrade"), ("Upgrade", "tcp")]
    try:
        async with asyncio.timeout(SECONDS):
            stream = Stream(await dial_unix(path), "guest: the engine")
            try:
                await stream.send(render(f"{method} {url} HTTP/1.1", head) + content)
                answer = Answer.parse(await stream.read_head(502) or b"\n\n")
                body = UntilClose() if answer.hijacks(method) else answer.body(method)
                if answer.status not in (101, 200):
                    told = await collect(stream, body, MAX_MESSAGE)
                    raise ProgramError(message(answer.status, bytes(told)))
            except BaseException:
                stream.close()
                raise
    except (OSError, ProtocolError) as error:
        raise ProgramError(f"guest: the engine ({path}): {str(error) or 'no answer in time'}") from None
    return FromEngine(stream, body, tty)


def message(status: int, body: bytes) -> str:
    """What the engine says of a request that it refuses."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, TypeError, KeyError):
        said = f"{status} {body[:200].decode(errors='replace')}"
    return f"guest: the engine: {said}"
