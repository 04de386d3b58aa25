"""The shells and logs that pages have open."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from ..engine.body import ProtocolError
from .programs import Program, ProgramError
from .terminal import Size, Terminal
from .text import Plain
from .watch import FullError

LIMITS = {"shell": 8, "log": 16}
AT_ONCE = 1 << 12  # bytes
WRITE_SECONDS = 10.0
IDLE_SECONDS = 3600.0  # of a shell into which nothing is typed, and which prints nothing


class One:
    """An open program, by a number that cannot be guessed; it is a shell if it has a ``terminal``."""

    def __init__(self, terminal: Terminal | None) -> None:
        self.terminal = terminal
        self.number = secrets.token_urlsafe(12)
        self.program: Program | None = None
        self._idle: asyncio.Timeout | None = None

    @property
    def kind(self) -> str:
        """One of LIMITS."""
        return "shell" if self.terminal else "log"

    async def told(self) -> AsyncIterator[str]:
        """What the page is told of its output, and at last why it ended."""
        assert self.program
        form: Plain | Terminal = self.terminal or Plain()
        pieces = aiter(self.program.output())
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS if self.terminal else None) as self._idle:
                    piece = await anext(pieces)
                for start in range(0, len(piece), AT_ONCE):
                    if told := form.take(piece[start : start + AT_ONCE]):
                        yield told
                    await asyncio.sleep(0)  # others have their turn
                if self.terminal and (answers := self.terminal.answers()):
                    await self._send(answers)
        except StopAsyncIteration:
            yield form.say(f"the {self.kind} has ended")
        except TimeoutError:
            yield form.say(f"the {self.kind} was idle for {IDLE_SECONDS:g} s, and was ended")
        except (OSError, ProtocolError, ProgramError) as error:
            yield form.say(str(error))

    async def write(self, data: bytes) -> None:
        """Type into it; raise ProgramError where it takes no more."""
        if not self.terminal:
            raise ProgramError("host: nothing can be typed into a log")
        if self._idle and self._idle.when() is not None:
            self._idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
        await self._send(self.terminal.typed(data))

    async def _send(self, data: bytes) -> None:
        if not self.program:
            raise ProgramError("host: it has not begun")
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self.program.write(data)
        except OSError as error:
            raise ProgramError(f"guest: the shell takes nothing more: {str(error) or 'it is busy'}") from None

    async def resize(self, size: Size) -> None:
        """Have it on a screen of another size; raise ProgramError."""
        if not self.terminal or not self.program:
            raise ProgramError("host: this has no size")
        self.terminal.resize(size)
        await self.program.resize(size)


class Running:
    """All of them, so many of each kind at most."""

    Start: TypeAlias = Callable[[], Awaitable[Program]]

    def __init__(self) -> None:
        self._all: dict[str, One] = {}

    async def start(self, start: Start, terminal: Terminal | None = None) -> One:
        """Begin one; raise FullError, ProgramError."""
        one = One(terminal)
        most = LIMITS[one.kind]
        if sum(other.kind == one.kind for other in self._all.values()) >= most:
            raise FullError(f"host: {most} {one.kind}s are open already; close one")
        self._all[one.number] = one
        try:
            one.program = await start()
        except BaseException:
            del self._all[one.number]
            raise
        return one

    def one(self, number: str) -> One:
        """The one of that number; raise ProgramError."""
        if not (found := self._all.get(number)):
            raise ProgramError("host: this shell has ended")
        return found

    async def end(self, one: One) -> None:
        """End it, and forget it."""
        try:
            if one.program:
                with contextlib.suppress(ProgramError):
                    await one.program.end()
        finally:
            self._all.pop(one.number, None)
