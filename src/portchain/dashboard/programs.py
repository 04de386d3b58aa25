"""Programs whose output a page shows as it arrives: shells and logs, in containers and in the guest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from ..http.asyncio_client import send
from ..http.body import Body, ProtocolError, UntilClose
from ..http.message_streams import Stream, collect
from ..linux import service_manager
from .plain_text import Demultiplexer, PlainTextDecoder
from .terminal_screen import Size

SECONDS = 15.0
MAX_MESSAGE = 1 << 16  # bytes
_PIECE = 1 << 14  # bytes

AtEnd = Callable[[], Awaitable[object]]
AtSize = Callable[[Size], Awaitable[object]]


class ProgramError(Exception):
    """A program that cannot be run; the message says which side, what, and why."""


class Program(Protocol):
    """A running program."""

    def output(self) -> AsyncIterator[bytes]:
        """Yield what the program prints, until it ends; to be read once. Raise OSError."""

    async def write(self, data: bytes) -> None:
        """Write to its standard input; raise OSError where it takes no more."""

    async def resize(self, size: Size) -> None:
        """Resize its terminal, if it has one."""

    async def end(self) -> None:
        """End the program, whatever it does."""


async def decoded_output(program: Program) -> AsyncIterator[str]:
    """Yield a program's output as text."""
    decoder = PlainTextDecoder()
    async for data in program.output():
        if decoded := decoder.feed(data):
            yield decoded
    if decoded := decoder.feed(b"", end=True):
        yield decoded


class InGuest:
    """A program in the guest, through ssh; ``at_end`` is called if it is ended before it exits."""

    def __init__(self, process: asyncio.subprocess.Process, at_end: AtEnd | None) -> None:
        self._process = process
        self._at_end = at_end

    @classmethod
    async def start(cls, guest: str, command: str, at_end: AtEnd | None = None) -> InGuest:
        """Have the guest's shell run a command; raise ProgramError."""
        pipe = asyncio.subprocess.PIPE
        return cls(await ssh(guest, command, pipe, pipe, "-T"), at_end)

    async def output(self) -> AsyncIterator[bytes]:
        """See Program.output."""
        assert self._process.stdout
        while data := await self._process.stdout.read(_PIECE):
            yield data

    async def write(self, data: bytes) -> None:
        """See Program.write."""
        assert self._process.stdin
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def resize(self, size: Size) -> None:
        """See Program.resize."""

    async def end(self) -> None:
        """See Program.end."""
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
        """Wait until it has ended and return its exit status."""
        return await self._process.wait()


async def ssh(guest: str, command: str, stdin: int, stdout: int, *options: str) -> asyncio.subprocess.Process:
    """Run ssh into the guest, with standard error in the output; raise ProgramError."""
    arguments = ("ssh", *options, "-F", str(service_manager.RUN / guest / "ssh_config"), guest, command)
    try:
        return await asyncio.create_subprocess_exec(
            *arguments, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise ProgramError(f"host: ssh: {error.strerror}") from None


async def run(guest: str, command: str, seconds: float = SECONDS) -> tuple[int, str]:
    """Run a command in the guest; return its exit status and up to MAX_MESSAGE of output. Raise ProgramError."""
    program = await InGuest.start(guest, command)
    output = ""
    try:
        async with asyncio.timeout(seconds):
            async for piece in decoded_output(program):
                output += piece[: MAX_MESSAGE - len(output)]
            return await program.status(), output
    except TimeoutError:
        raise ProgramError(f"guest {guest}: what was asked for is not done after {seconds:g} s") from None
    finally:
        await program.end()


class FromEngine:
    """A stream from the engine: a program in a container, or a container's log; multiplexed unless ``tty``."""

    at_end: AtEnd | None = None
    at_size: AtSize | None = None

    def __init__(self, stream: Stream, body: Body, tty: bool) -> None:
        self._stream = stream
        self._body = body
        self._tty = tty

    async def output(self) -> AsyncIterator[bytes]:
        """See Program.output."""
        demultiplexer = Demultiplexer()
        while not self._body.complete and (data := await self._stream.peek()):
            content = bytearray()
            self._stream.consume(self._body.take(data, content))
            for piece in [bytes(content)] if self._tty else demultiplexer.feed(bytes(content)):
                yield piece

    async def write(self, data: bytes) -> None:
        """See Program.write."""
        await self._stream.send(data)

    async def resize(self, size: Size) -> None:
        """See Program.resize."""
        if self.at_size:
            await self.at_size(size)

    async def end(self) -> None:
        """See Program.end."""
        self._stream.close()
        if self.at_end:
            await self.at_end()


async def from_engine(path: str, url: str, document: object = None, tty: bool = False) -> FromEngine:
    """Open a stream of the engine's on socket ``path``: GET, or POST if there is a JSON ``document``.

    Raise ProgramError with what it says.
    """
    method = "GET" if document is None else "POST"
    content = None if document is None else json.dumps(document).encode()
    try:
        async with asyncio.timeout(SECONDS):
            stream, answer = await send(path, method, url, content, upgrade=content is not None)
            try:
                body = UntilClose() if answer.hijacks(method) else answer.body(method)
                if answer.status not in (101, 200):
                    refusal = await collect(stream, body, MAX_MESSAGE)
                    raise ProgramError(engine_error(answer.status, bytes(refusal)))
            except BaseException:
                stream.close()
                raise
    except (OSError, ProtocolError) as error:
        raise ProgramError(f"guest: the engine ({path}): {str(error) or 'no answer in time'}") from None
    return FromEngine(stream, body, tty)


def engine_error(status: int, body: bytes) -> str:
    """Return the engine's message about a request that it refuses."""
    try:
        reason = str(json.loads(body)["message"])
    except (ValueError, TypeError, KeyError):
        reason = f"{status} {body[:200].decode(errors='replace')}"
    return f"guest: the engine: {reason}"
