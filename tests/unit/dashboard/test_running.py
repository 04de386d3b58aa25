from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from portchain.dashboard.programs import ProgramError
from portchain.dashboard.running import OpenPrograms
from portchain.dashboard.terminal_screen import Size, Terminal


class Deaf:
    """A program that asks where the cursor is, and does not read the answer."""

    async def output(self) -> AsyncIterator[bytes]:
        """As Program's."""
        yield b"\x1b[6n"
        await asyncio.Event().wait()

    async def write(self, _data: bytes) -> None:
        """As Program's."""
        await asyncio.Event().wait()

    async def resize(self, size: Size) -> None:
        """As Program's."""

    async def end(self) -> None:
        """As Program's."""


def test_a_shell_that_takes_nothing_is_said_to_be_busy_and_not_idle() -> None:
    async def start() -> Deaf:
        return Deaf()

    async def told() -> str:
        one = await OpenPrograms(write_seconds=0.01).start(start, Terminal(Size()))
        with pytest.raises(ProgramError, match="takes nothing more: it is busy"):
            await one.write(b"x")
        return "".join([piece async for piece in one.updates()])

    said = asyncio.run(told())
    assert "it is busy" in said
    assert "idle" not in said


class Talkative(Deaf):
    """A program that prints, and notes what is typed."""

    def __init__(self) -> None:
        self.typed = b""

    async def output(self) -> AsyncIterator[bytes]:
        """As Program's."""
        yield b"printed"

    async def write(self, data: bytes) -> None:
        """As Program's."""
        self.typed += data


def test_what_is_typed_while_the_page_is_told_something_is_kept() -> None:
    program = Talkative()

    async def start() -> Talkative:
        return program

    async def main() -> None:
        one = await OpenPrograms().start(start, Terminal(Size()))
        told = one.updates()
        for key in (b"a", b"b"):
            assert await anext(told)
            await one.write(key)

    asyncio.run(main())
    assert program.typed == b"ab"
