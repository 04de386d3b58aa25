"""Starting, stopping and removing a guest from outside, and saying how it is."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import daemon
from ..daemon import STATE, Daemon
from . import cgroups, subids
from .live import Live
from .power_button import PIPE
from .spec import GuestSpec

_BOOT_DEADLINE = 30.0


@dataclass(frozen=True)
class Status:
    """How a guest is. ``pid`` is its first process on the host, ``uptime`` seconds, ``memory`` bytes in use."""

    name: str
    state: str
    driver: str | None = None
    pid: int | None = None
    supervisor: int | None = None
    uptime: float | None = None
    memory: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def spec_file(name: str) -> Path:
    """Where the spec of guest ``name`` is kept."""
    return STATE / name / "guest.json"


def guest_daemon(name: str, source: str = "", version: str = "") -> Daemon:
    """The supervisor of guest ``name`` as a host daemon."""
    argv = ("/usr/bin/python3", "-m", "portchain.guest.supervisor", str(spec_file(name)))
    return Daemon("guest", name, argv, {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}, version)


def spec_daemon(spec: GuestSpec) -> Daemon:
    """The supervisor of ``spec``, its version standing for all that the guest is made of."""
    digest = hashlib.sha256(spec.dump().encode())
    for folder in (spec.bundles, spec.source):
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            digest.update(str(path).encode() + path.read_bytes())
    return guest_daemon(spec.name, spec.source, digest.hexdigest()[:16])


def status(name: str) -> Status:
    """How guest ``name`` is: running, starting, stopped (defined, but down) or absent."""
    try:
        state = json.loads((daemon.RUN / name / "state.json").read_text())
    except (OSError, ValueError):
        state = {}
    if state and _alive(state["supervisor"]):
        return Status(
            name,
            "running",
            state["driver"],
            state["pid"],
            state["supervisor"],
            round(time.time() - state["started"], 1),
            cgroups.memory_in_use([Path(path) for path in state["cgroups"]]),
        )
    if daemon.pid(guest_daemon(name)):
        return Status(name, "starting")
    return Status(name, "stopped" if spec_file(name).exists() else "absent")


def names() -> list[str]:
    """The guests defined on this machine."""
    return sorted(path.parent.name for path in STATE.glob("*/guest.json"))


def reserved(spec: GuestSpec) -> bool:
    """Whether the guest's ids are reserved as ``spec`` says."""
    return all(_ids(spec) in subids.parse(_read(path)) for path in subids.FILES)


def differs(spec: GuestSpec) -> bool:
    """Whether what is defined is not what ``spec`` says."""
    return _read(spec_file(spec.name)) != spec.dump() or daemon.differs(spec_daemon(spec)) or not reserved(spec)


def text(spec: GuestSpec, live: Live) -> str:
    """What a guest is made of and may reach, for people."""
    return f"{spec.dump()}{live}"


def defined_text(name: str) -> str:
    """The same of the guest ``name`` as it is defined; empty if it is not."""
    if not spec_file(name).exists():
        return ""
    return f"{_read(spec_file(name))}{Live.load(STATE / name)}"


def start(spec: GuestSpec) -> bool:
    """Have the guest running as ``spec`` says; returns whether anything was done. Raises DaemonError."""
    if not differs(spec) and status(spec.name).state == "running":
        return False
    for path in subids.FILES:
        path.write_text(subids.reserve(_read(path), _ids(spec)))
    spec_file(spec.name).parent.mkdir(parents=True, exist_ok=True)
    spec_file(spec.name).write_text(spec.dump())
    runner = spec_daemon(spec)
    daemon.ensure_started(runner)
    daemon.wait_for(runner, lambda: status(spec.name).state == "running", _BOOT_DEADLINE, "was not running")
    return True


def stop(name: str) -> bool:
    """Power the guest off; its disk stays. Returns whether it was running."""
    return daemon.ensure_absent(guest_daemon(name))


def remove(name: str) -> bool:
    """Power the guest off and remove all that is its own; returns whether there was anything."""
    known = subids.owner(name)
    listed = [path for path in subids.FILES if any(r.owner == known for r in subids.parse(_read(path)))]
    stopped = stop(name)
    for path in listed:
        path.write_text(subids.release(_read(path), known))
    for group in cgroups.GuestGroups(name, cgroups.own_hierarchies()).paths:
        cgroups.remove_tree(group, 5.0)
    run = daemon.RUN / name
    services = (f"host-services/{name}" for name in ("supervisor.sock", PIPE))
    own = ("state.json", "shares.json", "ssh_config", "hosts", "gateway.netns", *services, "mnt")
    leftovers = [*(run / file for file in own), STATE / name, daemon.LOGS / name / "guest"]
    return daemon.remove_leftovers(leftovers) or stopped or bool(listed)


def _ids(spec: GuestSpec) -> subids.Range:
    return subids.Range(subids.owner(spec.name), spec.uid_base, spec.uid_count)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
