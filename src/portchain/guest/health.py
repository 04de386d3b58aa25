"""Print the state of each service of the guest as JSON.

Usage: python3 -m portchain.guest.health
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..linux.control_groups import memory_in_use
from ..linux.rotating_log import stamp
from ..linuxkit.paths import NAMESPACE, STARTS, bundles

_CRASHING_STARTS = 4
_CRASHING_WITHIN = 60.0
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Health:
    """The state of one service. ``pid`` is the guest's, ``memory`` in bytes, ``since`` when it last started.

    ``state`` is running, restarting, ended (for good), failed (it never ran), or crashing: it started four times within
    the last minute.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    memory: int | None
    since: str | None


def judge(pid: int | None, starts: str, uptime: float) -> tuple[str, int, float | None]:
    """Return a service's state, its restarts, and the seconds since it last started.

    ``starts`` is ``COUNT NEWEST … OLDEST``: how often it started, and the uptimes at which it did; ``uptime`` is now.
    """
    count, *times = starts.split() or ["0"]
    ages = [uptime - float(time) for time in times]
    if len(ages) >= _CRASHING_STARTS and ages[_CRASHING_STARTS - 1] < _CRASHING_WITHIN:
        state = "crashing"
    elif pid:
        state = "running"
    else:
        state = "restarting" if ages else "failed"
    return state, max(0, int(count) - 1), ages[0] if ages else None


def parse_tasks(tasks: str) -> dict[str, int]:
    """Return the pids of running tasks by name, from the output of ``ctr task ls``."""
    rows = [line.split() for line in tasks.splitlines()[1:]]
    return {name: int(pid) for name, pid, status in rows if status == "RUNNING"}


def control_groups(name: str) -> list[Path]:
    """Return where the control group of service ``name`` may be, with cgroup v1 and v2."""
    return [_GROUPS / "memory/services" / name, _GROUPS / "services" / name]


def collect(pids: Mapping[str, int]) -> list[Health]:
    """Return the health of every service; ``pids`` are those of the running ones by name."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    rows = []
    for bundle in bundles("services"):
        name = bundle.name
        path, pid = Path(STARTS) / name, pids.get(name)
        state, restarts, age = judge(pid, path.read_text() if path.exists() else "", uptime)
        if state == "restarting" and not bundle.runtime["restart"]:
            state = "ended"
        since = None if age is None else stamp(time.time() - age)
        rows.append(Health(name, state, pid, restarts, memory_in_use(control_groups(name)) if pid else None, since))
    return rows


def main() -> None:
    """Print the health of every service."""
    tasks = subprocess.run(
        ["ctr", "-n", NAMESPACE, "task", "ls"], capture_output=True, text=True, check=True, timeout=10
    )
    print(json.dumps([asdict(service) for service in collect(parse_tasks(tasks.stdout))], indent=2))


if __name__ == "__main__":
    main()
