from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from portchain.dashboard import running
from portchain.dashboard.programs import ProgramError
from portchain.dashboard.running import Running
from portchain.dashboard.terminal import Size, Terminal


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


def test_a_shell_that_takes_nothing_is_said_to_be_busy_and_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "WRITE_SECONDS", 0.01)

    async def start() -> Deaf:
        return Deaf()

    async def told() -> str:
        one = await Running().start(start, Terminal(Size()))
        with pytest.raises(ProgramError, match="takes nothing more: it is busy"):
            await one.write(b"x")
        return "".join([piece async for piece in one.told()])

    said = asyncio.run(told())
    assert "it is busy" in said
    assert "idle" not in said
