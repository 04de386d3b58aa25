"""The guest's power button: a named pipe from which acpid in the guest reads, as it would from the kernel."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import termios
from pathlib import Path

PIPE = "acpi.fifo"
_PRESSED = b"button/power PBTN 00000080 00000000\n"


class PowerButton:
    """The button at ``path``; user ``owner`` is the one who may read of it."""

    def __init__(self, path: Path, owner: int) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o400)
        os.chown(path, owner, owner)
        self._path = path
        # Held for reading too, so that acpid never waits for a writer and never sees the pipe's end.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def press(self) -> None:
        """Press it; if acpid is not there, it reads of it when it is again."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe, _PRESSED)

    @property
    def unnoticed(self) -> bool:
        """Whether it was pressed, but nobody has read of it so far."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self._pipe, termios.FIONREAD, waiting)
        return waiting[0] > 0

    def close(self) -> None:
        """Take it away."""
        os.close(self._pipe)
        self._path.unlink(missing_ok=True)
