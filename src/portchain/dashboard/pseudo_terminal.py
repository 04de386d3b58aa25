"""A program in the guest that has a terminal: ssh on a pseudo-terminal of the host's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
from collections.abc import AsyncIterator
from termios import tcsetwinsize

from .programs import AtEnd, InGuest, ssh
from .terminal import Size

_PIECE = 1 << 12  # bytes
_FULL_SECONDS = 0.02


class _Reader(asyncio.StreamReaderProtocol):
    """Takes the error with which a pseudo-terminal ends for the end that it is."""

    def connection_lost(self, _error: Exception | None) -> None:
        """As asyncio's."""
        super().connection_lost(None)


class OnTerminal(InGuest):
    """As InGuest, of a size."""

    def __init__(self, process: asyncio.subprocess.Process, at_end: AtEnd | None, master: int) -> None:
        super().__init__(process, at_end)
        os.set_blocking(master, False)
        self._master = os.fdopen(master, "r+b", 0)

    @classmethod
    async def open(cls, guest: str, command: str, size: Size, at_end: AtEnd) -> OnTerminal:
        """Have the guest's shell run a command on a terminal. Raise ProgramError."""
        master, slave = pty.openpty()
        try:
            tcsetwinsize(slave, (size.lines, size.columns))
            process = await ssh(guest, "-tt", command, slave, slave)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return cls(process, at_end, master)

    async def output(self) -> AsyncIterator[bytes]:
        """As Program's."""
        reader = asyncio.StreamReader(_PIECE)
        file = os.fdopen(os.dup(self._master.fileno()), "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _Reader(reader), file)
        try:
            while data := await reader.read(_PIECE):
                yield data
        finally:
            transport.close()

    async def write(self, data: bytes) -> None:
        """As Program's."""
        while data:
            try:
                data = data[os.write(self._master.fileno(), data) :]
            except BlockingIOError:
                await asyncio.sleep(_FULL_SECONDS)

    async def resize(self, size: Size) -> None:
        """As Program's."""
        tcsetwinsize(self._master, (size.lines, size.columns))
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGWINCH)

    async def end(self) -> None:
        """As Program's."""
        try:
            await super().end()
        finally:
            self._master.close()
