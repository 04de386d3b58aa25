"""The guest's power button: a named pipe from which acpid in the guest reads, as it would from the kernel."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PIPE = "acpi.fifo"
_PRESSED = b"button/power PBTN 00000080 00000000\n"


class PowerButton:
    """The button at ``path``, which only user ``owner`` can read."""

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

    def close(self) -> None:
        """Take it away."""
        os.close(self._pipe)
        self._path.unlink(missing_ok=True)
