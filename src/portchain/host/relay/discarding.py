"""Close descriptors beside the event loop, because closing one may take as long as a guest pleases.

Closing a file of a FUSE file system waits for the program that serves it, and no signal ends that.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Sequence
from queue import SimpleQueue

MAX_WAITING = 1000  # descriptors


class Discarder:
    """A thread that closes descriptors."""

    def __init__(self) -> None:
        self._descriptors: SimpleQueue[int] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def full(self) -> bool:
        """Whether so many descriptors wait that no more may come."""
        return self._descriptors.qsize() >= MAX_WAITING

    def close_all(self, descriptors: Sequence[int]) -> None:
        """Close descriptors, some time, whatever they are."""
        for descriptor in descriptors:
            self._descriptors.put(descriptor)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        while True:
            with contextlib.suppress(OSError):
                socket.close(self._descriptors.get())
