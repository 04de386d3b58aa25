"""Programs on the host that a guest needs, restarted when they end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence

_RESTART_SECONDS = 1.0
_STOP_DEADLINE = 2.0


class Sidecar:
    """One program, which is started at once and inherits ``descriptors``."""

    def __init__(self, name: str, command: Sequence[str], descriptors: Sequence[int], restart_seconds: float) -> None:
        self._name = name
        self._command = command
        self._descriptors = descriptors
        self._restart_seconds = restart_seconds
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self.process = subprocess.Popen(self._command, pass_fds=self._descriptors)

    def restart_if_ended(self) -> None:
        """Start the program again if it ended, ``restart_seconds`` after its last start at the earliest."""
        status = self.process.poll()
        if status is not None and time.monotonic() - self._started > self._restart_seconds:
            print(f"{self._name} ended with status {status}, started again", file=sys.stderr, flush=True)
            self._start()


class Sidecars:
    """The programs of one guest, by name."""

    def __init__(self, guest: str, restart_seconds: float = _RESTART_SECONDS) -> None:
        self._guest = guest
        self._restart_seconds = restart_seconds
        self._running: dict[str, Sidecar] = {}

    def start(self, name: str, command: Sequence[str], descriptors: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Keep ``command`` running until `stop` or `end`; return its first process."""
        label = f"guest {self._guest}: {name}"
        program = self._running[name] = Sidecar(label, command, descriptors, self._restart_seconds)
        return program.process

    def end(self, name: str) -> None:
        """End a program, and do not start it again."""
        _end([self._running.pop(name).process])

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program, if it was started."""
        if name in self._running:
            self._running[name].process.send_signal(number)

    def restart_ended(self) -> None:
        """Restart the programs that ended."""
        for program in self._running.values():
            program.restart_if_ended()

    def stop(self) -> None:
        """End all programs."""
        _end([program.process for program in self._running.values()])


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_DEADLINE)
            continue
        process.kill()
        process.wait()
