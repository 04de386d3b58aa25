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
    """A named pipe at ``path`` that user ``owner`` may read."""

    def __init__(self, path: Path, owner: int) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o400)
        os.chown(path, owner, owner)
        self._path = path
        # Open for reading too, so that acpid never waits for a writer and never reads the end of the file.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def press(self) -> None:
        """Press the button; if acpid does not run now, it reads the event when it does."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe, _PRESSED)

    @property
    def unnoticed(self) -> bool:
        """Whether the button was pressed and nobody has read the event yet."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self._pipe, termios.FIONREAD, waiting)
        return waiting[0] > 0

    def close(self) -> None:
        """Close and remove the pipe."""
        os.close(self._pipe)
        self._path.unlink(missing_ok=True)
