"""In the guest: how each service is, as JSON.

Usage: python3 -m portchain.guest.health
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .cgroups import memory_in_use
from .places import NAMESPACE, STARTS, bundles
from .rotating_log import stamp

_CRASHING_STARTS = 4
_CRASHING_WITHIN = 60.0
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Health:
    """One service. ``pid`` is the guest's, ``memory`` bytes, ``since`` when it last started.

    ``state`` is running, restarting, ended (for good), failed (it never ran) or crashing: started four times within
    the last minute.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    memory: int | None
    since: str | None


def judge(pid: int | None, starts: str, uptime: float) -> tuple[str, int, float | None]:
    """The state of a service, its restarts and its age in seconds, from ``COUNT NEWEST … OLDEST``, its ``starts``."""
    count, *times = starts.split() or ["0"]
    ages = [uptime - float(time) for time in times]
    if len(ages) >= _CRASHING_STARTS and ages[_CRASHING_STARTS - 1] < _CRASHING_WITHIN:
        state = "crashing"
    elif pid:
        state = "running"
    else:
        state = "restarting" if ages else "failed"
    return state, max(0, int(count) - 1), ages[0] if ages else None


def running(tasks: str) -> dict[str, int]:
    """The pids of running tasks by name, from what ``ctr task ls`` prints."""
    rows = [line.split() for line in tasks.splitlines()[1:]]
    return {name: int(pid) for name, pid, status in rows if status == "RUNNING"}


def groups(name: str) -> list[Path]:
    """Where the control group of service ``name`` may be, with cgroup v1 and v2."""
    return [_GROUPS / "memory/services" / name, _GROUPS / "services" / name]


def look(pids: Mapping[str, int]) -> list[Health]:
    """Every service as it is now."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    found = []
    for bundle in bundles("services"):
        name = bundle.name
        path, pid = Path(STARTS) / name, pids.get(name)
        state, restarts, age = judge(pid, path.read_text() if path.exists() else "", uptime)
        if state == "restarting" and not bundle.runtime["restart"]:
            state = "ended"
        since = None if age is None else stamp(time.time() - age)
        found.append(Health(name, state, pid, restarts, memory_in_use(groups(name)) if pid else None, since))
    return found


def main() -> None:
    """Print it."""
    tasks = subprocess.run(
        ["ctr", "-n", NAMESPACE, "task", "ls"], capture_output=True, text=True, check=True, timeout=10
    )
    print(json.dumps([asdict(one) for one in look(running(tasks.stdout))], indent=2))


if __name__ == "__main__":
    main()
