"""The shells and logs that are open in pages."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from ..http.body import ProtocolError
from .plain_text import PlainTextDecoder
from .programs import Program, ProgramError
from .terminal_screen import Size, Terminal
from .watch import FullError

LIMITS = {"shell": 8, "log": 16}
AT_ONCE = 1 << 12  # bytes
WRITE_SECONDS = 10.0
IDLE_SECONDS = 3600.0  # of a shell into which nothing is typed, and which prints nothing


class OpenProgram:
    """An open program, with a number that cannot be guessed; it is a shell if it has a ``terminal``."""

    def __init__(self, terminal: Terminal | None, idle_seconds: float, write_seconds: float) -> None:
        self.terminal = terminal
        self._idle_seconds = idle_seconds
        self._write_seconds = write_seconds
        self.number = secrets.token_urlsafe(12)
        self.program: Program | None = None
        self._idle: asyncio.Timeout | None = None

    @property
    def kind(self) -> str:
        """The kind of program, a key of LIMITS."""
        return "shell" if self.terminal else "log"

    async def updates(self) -> AsyncIterator[str]:
        """Yield what the page is to show, and at last why the program ended."""
        assert self.program
        decoder: PlainTextDecoder | Terminal = self.terminal or PlainTextDecoder()
        pieces = aiter(self.program.output())
        try:
            while True:
                try:
                    async with asyncio.timeout(self._idle_seconds if self.terminal else None) as self._idle:
                        piece = await anext(pieces)
                finally:
                    self._idle = None
                for start in range(0, len(piece), AT_ONCE):
                    if update := decoder.feed(piece[start : start + AT_ONCE]):
                        yield update
                    await asyncio.sleep(0)  # others have their turn
                if self.terminal and (answers := self.terminal.answers()):
                    await self._send(answers)
        except StopAsyncIteration:
            yield decoder.append_line(f"the {self.kind} has ended")
        except TimeoutError:
            yield decoder.append_line(f"the {self.kind} was idle for {self._idle_seconds:g} s, and was ended")
        except (OSError, ProtocolError, ProgramError) as error:
            yield decoder.append_line(str(error))

    async def write(self, data: bytes) -> None:
        """Type into a shell; raise ProgramError where it takes no more."""
        if not self.terminal:
            raise ProgramError("host: nothing can be typed into a log")
        if self._idle and not self._idle.expired():
            self._idle.reschedule(asyncio.get_running_loop().time() + self._idle_seconds)
        await self._send(self.terminal.typed(data))

    async def _send(self, data: bytes) -> None:
        if not self.program:
            raise ProgramError("host: it has not begun")
        try:
            async with asyncio.timeout(self._write_seconds):
                await self.program.write(data)
        except OSError as error:
            raise ProgramError(f"guest: the shell takes nothing more: {str(error) or 'it is busy'}") from None

    async def resize(self, size: Size) -> None:
        """Resize a shell's terminal; raise ProgramError."""
        if not self.terminal or not self.program:
            raise ProgramError("host: this has no size")
        self.terminal.resize(size)
        await self.program.resize(size)


class OpenPrograms:
    """All open programs, with a limit for each kind."""

    Start: TypeAlias = Callable[[], Awaitable[Program]]

    def __init__(self, idle_seconds: float = IDLE_SECONDS, write_seconds: float = WRITE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._write_seconds = write_seconds
        self._all: dict[str, OpenProgram] = {}

    async def start(self, start: Start, terminal: Terminal | None = None) -> OpenProgram:
        """Start a program; raise FullError, ProgramError."""
        program = OpenProgram(terminal, self._idle_seconds, self._write_seconds)
        limit = LIMITS[program.kind]
        if sum(running.kind == program.kind for running in self._all.values()) >= limit:
            raise FullError(f"host: {limit} {program.kind}s are open already; close one")
        self._all[program.number] = program
        try:
            program.program = await start()
        except BaseException:
            del self._all[program.number]
            raise
        return program

    def get(self, number: str) -> OpenProgram:
        """Return the program with a number; raise ProgramError."""
        if not (program := self._all.get(number)):
            raise ProgramError("host: this shell has ended")
        return program

    async def end(self, program: OpenProgram) -> None:
        """End a program and forget it."""
        try:
            if program.program:
                with contextlib.suppress(ProgramError):
                    await program.program.end()
        finally:
            self._all.pop(program.number, None)
