"""Containers of an engine that ended without ending them: nobody would ever stop them, and what they hold is missed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from .host_network import container_of

_PROC = Path("/proc")
_DEADLINE = 10.0


def processes(proc: Path = _PROC) -> list[int]:
    """The processes of all containers of the engine, by pid."""
    found = []
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if container_of((folder / "cgroup").read_text()):
                found.append(int(folder.name))
    return found


def end(deadline: float = _DEADLINE) -> int:
    """Kill them all, to be called before there is an engine; returns how many were found at first.

    Raise TimeoutError when some are there still after ``deadline`` seconds.
    """
    until = time.monotonic() + deadline
    first = left = processes()
    while left:
        if time.monotonic() > until:
            raise TimeoutError(f"guest: processes {left} of an earlier engine's containers do not end")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        left = processes()
    return len(first)
