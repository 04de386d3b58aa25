"""Programs in the guest that have a terminal: ssh on a pseudo-terminal of the host's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import termios
import tty
from collections.abc import AsyncIterator

from .programs import AtEnd, InGuest, ssh
from .terminal_screen import Size

_PIECE = 1 << 12  # bytes
_FULL_SECONDS = 0.02


class _TerminalReader(asyncio.StreamReaderProtocol):
    """A reader for which the error at a pseudo-terminal's end is the end of the stream."""

    def connection_lost(self, _error: Exception | None) -> None:
        """End the stream without an error."""
        super().connection_lost(None)


class OnTerminal(InGuest):
    """A program in the guest on a terminal; see InGuest."""

    def __init__(self, process: asyncio.subprocess.Process, at_end: AtEnd | None, master: int) -> None:
        super().__init__(process, at_end)
        os.set_blocking(master, False)
        self._master = os.fdopen(master, "r+b", 0)

    @classmethod
    async def open(cls, guest: str, command: str, size: Size, at_end: AtEnd) -> OnTerminal:
        """Have the guest's shell run a command on a terminal; raise ProgramError."""
        master, slave = pty.openpty()
        try:
            _prepare(slave, size)
            process = await ssh(guest, command, slave, slave, "-tt", "-e", "none")
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return cls(process, at_end, master)

    async def output(self) -> AsyncIterator[bytes]:
        """See Program.output."""
        reader = asyncio.StreamReader(_PIECE)
        file = os.fdopen(os.dup(self._master.fileno()), "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _TerminalReader(reader), file)
        try:
            while data := await reader.read(_PIECE):
                yield data
        finally:
            transport.close()

    async def write(self, data: bytes) -> None:
        """See Program.write."""
        while data:
            try:
                data = data[os.write(self._master.fileno(), data) :]
            except BlockingIOError:
                await asyncio.sleep(_FULL_SECONDS)

    async def resize(self, size: Size) -> None:
        """See Program.resize."""
        termios.tcsetwinsize(self._master, (size.lines, size.columns))
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGWINCH)

    async def end(self) -> None:
        """See Program.end."""
        try:
            await super().end()
        finally:
            self._master.close()


def _prepare(terminal: int, size: Size) -> None:
    """Set a terminal's size and have it pass keys on unchanged, at both ends and from the start.

    Otherwise what is typed before ssh does so would be echoed twice, and Ctrl-C would end ssh.
    """
    termios.tcsetwinsize(terminal, (size.lines, size.columns))
    tty.setraw(terminal)
    modes = termios.tcgetattr(terminal)
    modes[tty.OFLAG] |= termios.OPOST  # of what ssh itself says
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
