"""The shells and logs that pages have open."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from ..engine.body import ProtocolError
from .programs import Program, ProgramError, text
from .watch import FullError

LIMITS = {"shell": 8, "log": 16}
IDLE_SECONDS = 3600.0  # of a shell into which nothing is typed, and which prints nothing


class One:
    """An open program, by a number that cannot be guessed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.number = secrets.token_urlsafe(12)
        self.program: Program | None = None
        self._idle: asyncio.Timeout | None = None

    async def text(self) -> AsyncIterator[str]:
        """What it prints, and at last why it ended."""
        assert self.program
        pieces = text(self.program)
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS if self.kind == "shell" else None) as self._idle:
                    piece = await anext(pieces)
                yield piece
        except StopAsyncIteration:
            yield f"\n[the {self.kind} has ended]\n"
        except TimeoutError:
            yield f"\n[the {self.kind} was idle for {IDLE_SECONDS:g} s, and was ended]\n"
        except (OSError, ProtocolError) as error:
            yield f"\n[{error}]\n"

    async def write(self, data: bytes) -> None:
        """Type into it; raise ProgramError where it takes no more."""
        if not self.program:
            raise ProgramError("host: it has not begun")
        if self._idle and self._idle.when() is not None:
            self._idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
        try:
            async with asyncio.timeout(10):
                await self.program.write(data)
        except OSError as error:
            raise ProgramError(f"guest: the {self.kind} takes nothing more: {error or 'it is busy'}") from None


class Running:
    """All of them, so many of each kind at most."""

    Start: TypeAlias = Callable[[], Awaitable[Program]]

    def __init__(self) -> None:
        self._all: dict[str, One] = {}

    async def start(self, kind: str, start: Start) -> One:
        """Begin one; raise FullError, ProgramError."""
        if sum(one.kind == kind for one in self._all.values()) >= LIMITS[kind]:
            raise FullError(f"host: {LIMITS[kind]} {kind}s are open already; close one")
        one = One(kind)
        self._all[one.number] = one
        try:
            one.program = await start()
        except BaseException:
            del self._all[one.number]
            raise
        return one

    async def write(self, number: str, data: bytes) -> None:
        """Type into the one of that number; raise ProgramError."""
        if not (one := self._all.get(number)):
            raise ProgramError("host: this shell has ended")
        await one.write(data)

    async def end(self, one: One) -> None:
        """End it, and forget it."""
        try:
            if one.program:
                with contextlib.suppress(ProgramError):
                    await one.program.end()
        finally:
            self._all.pop(one.number, None)
