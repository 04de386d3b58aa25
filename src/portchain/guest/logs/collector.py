"""Write what the services print into /var/log/NAME.log, with time stamps and of bounded size.

Each service prints into a fifo in /run/logs, kept open by its shim, or by the guest's bring-up for a container that
runs once. What is printed while this program is not there waits in the fifo.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import struct
import termios
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...linux.rotating_log import RotatingLog, StampedLines
from ...linuxkit.paths import FIFOS, LOGS, bundles

_CHUNK = 65536
_POLL_SECONDS = 0.01


class Collector:
    """Copies what is printed into each fifo ``fifos/NAME`` to ``logs/NAME.log``; makes fifos that are missing."""

    def __init__(self, names: Iterable[str], fifos: Path, logs: Path) -> None:
        self._selector = selectors.DefaultSelector()
        for folder in (fifos, logs):
            folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(set(names)):
            # Opened for writing, too: a service that ends would otherwise end the fifo.
            source = os.open(make_fifo(fifos, name), os.O_RDWR | os.O_NONBLOCK)
            log = StampedLines(RotatingLog(logs / f"{name}.log"))
            self._selector.register(source, selectors.EVENT_READ, log)

    def collect(self, timeout: float | None = None) -> None:
        """Write what has been printed; wait for it up to ``timeout`` seconds, or for ever."""
        for key, _ in self._selector.select(timeout):
            log: StampedLines = key.data
            log.feed(os.read(key.fd, _CHUNK))


def make_fifo(folder: Path, name: str) -> Path:
    """Return the fifo of service ``name`` in ``folder``; make it if it is not there."""
    path = folder / name
    with contextlib.suppress(FileExistsError):  # the collector and the service's start both make it
        os.mkfifo(path, 0o600)
    return path


@contextlib.contextmanager
def kept_until_read(fifos: Path, names: Iterable[str], deadline: float) -> Iterator[None]:
    """Keep what is printed within the block until the collector, which may start later, has read it.

    Wait for the collector at most ``deadline`` seconds: a fifo that nobody has open forgets what was written.
    """
    descriptors = [os.open(make_fifo(fifos, name), os.O_RDWR) for name in names]
    try:
        yield
        end = time.monotonic() + deadline
        for descriptor in descriptors:
            while _unread(descriptor) and time.monotonic() < end:
                time.sleep(_POLL_SECONDS)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _unread(descriptor: int) -> int:
    """Return how many bytes wait in a fifo."""
    count: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return count


def main() -> None:
    """Collect logs for as long as the guest runs."""
    collector = Collector((bundle.name for bundle in bundles()), Path(FIFOS), Path(LOGS))
    while True:
        collector.collect()
