"""In the guest: write what the services print into /var/log/NAME.log, with time stamps and of bounded size.

Each service's output is a fifo in /run/logs, which its shim keeps open: what is printed while this program is
restarted waits there.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Iterable
from pathlib import Path

from .places import FIFOS, LOGS, bundles
from .rotating_log import RotatingLog, StampedLines

_CHUNK = 65536


class Collector:
    """Has the log ``logs/NAME.log`` for each fifo ``fifos/NAME``, which it makes where there is none."""

    def __init__(self, names: Iterable[str], fifos: Path, logs: Path) -> None:
        self._selector = selectors.DefaultSelector()
        for folder in (fifos, logs):
            folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(set(names)):
            # Open for writing as well, so that it has no end when a service ends.
            source = os.open(fifo(fifos, name), os.O_RDWR | os.O_NONBLOCK)
            log = StampedLines(RotatingLog(logs / f"{name}.log"))
            self._selector.register(source, selectors.EVENT_READ, log)

    def collect(self, timeout: float | None = None) -> None:
        """Write what has been printed, waiting ``timeout`` seconds for it, or until there is something."""
        for key, _ in self._selector.select(timeout):
            log: StampedLines = key.data
            log.feed(os.read(key.fd, _CHUNK))


def fifo(folder: Path, name: str) -> Path:
    """The fifo of service ``name`` in ``folder``, made if it is not there."""
    path = folder / name
    with contextlib.suppress(FileExistsError):  # who starts the service and who collects make it, whichever comes first
        os.mkfifo(path, 0o600)
    return path


def main() -> None:
    """Collect for as long as the guest runs."""
    collector = Collector((bundle.name for bundle in bundles()), Path(FIFOS), Path(LOGS))
    while True:
        collector.collect()
