"""Kill what is left of an engine that ended without its containers: they would hold its ports and files for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ...host_network_listeners import container_of

_PROC = Path("/proc")
_DEADLINE = 10.0


def container_processes(proc: Path = _PROC) -> list[int]:
    """Return the pids of all processes in containers of the engine."""
    pids = []
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if container_of((folder / "cgroup").read_text()):
                pids.append(int(folder.name))
    return pids


def kill_all(deadline: float = _DEADLINE) -> int:
    """Kill all processes of containers, before an engine is started; return how many there were at first.

    Raise TimeoutError if some remain after ``deadline`` seconds.
    """
    end = time.monotonic() + deadline
    first = remaining = container_processes()
    while remaining:
        if time.monotonic() > end:
            raise TimeoutError(f"guest: processes {remaining} of an earlier engine's containers do not end")
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        remaining = container_processes()
    return len(first)
