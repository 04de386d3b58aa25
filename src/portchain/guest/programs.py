"""Programs of the host that a guest needs beside it, started again when they end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence

_PAUSE = 1.0
_STOP_DEADLINE = 2.0


class Program:
    """One program, started at once, with the ``descriptors`` that it inherits."""

    def __init__(self, name: str, command: Sequence[str], descriptors: Sequence[int] = ()) -> None:
        self._name = name
        self._command = command
        self._descriptors = descriptors
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self.process = subprocess.Popen(self._command, pass_fds=self._descriptors)

    def tend(self) -> None:
        """Start it again if it ended, a second after its last start at the earliest."""
        status = self.process.poll()
        if status is not None and time.monotonic() - self._started > _PAUSE:
            print(f"{self._name} ended with status {status}, started again", file=sys.stderr, flush=True)
            self._start()


class Programs:
    """Those of one guest, by name."""

    def __init__(self, guest: str) -> None:
        self._guest = guest
        self._running: dict[str, Program] = {}

    def start(self, name: str, command: Sequence[str], descriptors: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Have ``command`` running until `stop`; returns its first process."""
        program = self._running[name] = Program(f"guest {self._guest}: {name}", command, descriptors)
        return program.process

    def end(self, name: str) -> None:
        """End a program, for good."""
        _end([self._running.pop(name).process])

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program, if it was started."""
        if name in self._running:
            self._running[name].process.send_signal(number)

    def tend(self) -> None:
        """Start again what ended."""
        for program in self._running.values():
            program.tend()

    def stop(self) -> None:
        """End them all."""
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
