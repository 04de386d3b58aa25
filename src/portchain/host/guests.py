"""Starting, stopping and removing guests of this machine, and their status."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..linux import control_groups, fuse_connections, group_trees, service_manager, subordinate_ids
from ..linux.service_manager import STATE, Daemon
from . import host_services, ssh_agent
from .drivers.namespace import console
from .drivers.namespace.power_button import PIPE
from .guest_spec import GuestSpec
from .live_settings import LiveSettings

_BOOT_DEADLINE = 30.0
_REMOVAL_PATIENCE = 5.0  # seconds without progress


@dataclass(frozen=True)
class GuestStatus:
    """The status of a guest: ``pid`` is its first process on the host, ``uptime`` in seconds, ``memory`` in bytes."""

    name: str
    state: str
    driver: str | None = None
    pid: int | None = None
    supervisor: int | None = None
    uptime: float | None = None
    memory: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain data for JSON."""
        return asdict(self)


def spec_file(name: str) -> Path:
    """Return the path of the spec of guest ``name``."""
    return STATE / name / "guest.json"


def guest_daemon(name: str, source: str = "", version: str = "") -> Daemon:
    """Return the supervisor of guest ``name`` as a host daemon."""
    argv = ("/usr/bin/python3", "-m", "portchain.host.drivers.namespace.supervisor", str(spec_file(name)))
    return Daemon("guest", name, argv, {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}, version)


def spec_daemon(spec: GuestSpec) -> Daemon:
    """Return the supervisor of ``spec`` as a host daemon, with a version that changes with the guest's files."""
    digest = hashlib.sha256(spec.dump().encode())
    for folder in (spec.bundles, spec.source):
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            digest.update(str(path).encode() + path.read_bytes())
    return guest_daemon(spec.name, spec.source, digest.hexdigest()[:16])


def status(name: str) -> GuestStatus:
    """Return the status of guest ``name``: running, starting, stopped (defined, but down) or absent."""
    state = _state(name)
    if state and _alive(state["supervisor"]):
        return GuestStatus(
            name,
            "running",
            state["driver"],
            state["pid"],
            state["supervisor"],
            round(time.time() - state["started"], 1),
            control_groups.memory_in_use(_groups(state)),
        )
    if service_manager.pid(guest_daemon(name)):
        return GuestStatus(name, "starting")
    return GuestStatus(name, "stopped" if spec_file(name).exists() else "absent")


def _state(name: str) -> dict[str, Any]:
    """Return the supervisor's record of the guest that runs, or ran when it was killed; empty if there is none."""
    try:
        state: dict[str, Any] = json.loads((service_manager.RUN / name / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def _groups(state: dict[str, Any]) -> list[Path]:
    """Return the control groups of a guest that runs, or ran when its supervisor was killed."""
    return [Path(path) for path in state.get("cgroups", [])]


def guest_names() -> list[str]:
    """Return the names of the guests that are defined on this machine."""
    return sorted(path.parent.name for path in STATE.glob("*/guest.json"))


def reserved(spec: GuestSpec) -> bool:
    """Return whether the ids of ``spec`` are reserved on this machine."""
    return all(_ids(spec) in subordinate_ids.parse_ranges(_read(path)) for path in subordinate_ids.FILES)


def differs(spec: GuestSpec) -> bool:
    """Return whether the guest is defined otherwise than in ``spec``."""
    return (
        _read(spec_file(spec.name)) != spec.dump() or service_manager.differs(spec_daemon(spec)) or not reserved(spec)
    )


def describe(spec: GuestSpec, live: LiveSettings) -> str:
    """Return a guest's spec and settings as text for people."""
    return f"{spec.dump()}{live}"


def describe_defined(name: str) -> str:
    """Return the spec and settings of guest ``name`` as it is defined; empty if it is not."""
    if not spec_file(name).exists():
        return ""
    return f"{_read(spec_file(name))}{LiveSettings.load(STATE / name)}"


def start(spec: GuestSpec) -> bool:
    """Make the guest run according to ``spec``; return whether anything was done. Raise DaemonError."""
    if not differs(spec) and status(spec.name).state == "running":
        return False
    for path in subordinate_ids.FILES:
        path.write_text(subordinate_ids.reserve(_read(path), _ids(spec)))
    spec_file(spec.name).parent.mkdir(parents=True, exist_ok=True)
    spec_file(spec.name).write_text(spec.dump())
    daemon = spec_daemon(spec)
    service_manager.ensure_started(daemon)
    problem = f"was not running; its console is in {console.log_files(spec.name)[0]}"
    service_manager.wait_for(daemon, lambda: status(spec.name).state == "running", _BOOT_DEADLINE, problem)
    return True


def stop(name: str) -> bool:
    """Power the guest off and keep its disk; return whether it was running."""
    return service_manager.ensure_absent(guest_daemon(name))


def remove(name: str) -> bool:
    """Power the guest off and remove all its files and reservations; return whether there were any."""
    owner = subordinate_ids.owner(name)
    reservations = {
        path: [r for r in subordinate_ids.parse_ranges(_read(path)) if r.owner == owner]
        for path in subordinate_ids.FILES
    }
    own_groups = {*_groups(_state(name)), *control_groups.GuestGroups(name, control_groups.own_hierarchies()).paths}
    stopped = stop(name)
    # A guest whose supervisor was killed may have left processes that cannot end by themselves.
    for own_ids in {r.ids for ranges in reservations.values() for r in ranges}:
        fuse_connections.abort(own_ids)
    group_trees.remove_trees(own_groups, _REMOVAL_PATIENCE)
    listed = [path for path, ranges in reservations.items() if ranges]
    for path in listed:
        path.write_text(subordinate_ids.release(_read(path), owner))
    run = service_manager.RUN / name
    services = (f"{host_services.FOLDER}/{name}" for name in ("supervisor.sock", PIPE, ssh_agent.SOCKET))
    own_files = ("state.json", "shares.json", "ssh_config", "hosts", "dns-servers", "gateway.netns", *services, "mnt")
    leftovers = [*(run / file for file in own_files), STATE / name, service_manager.LOGS / name / "guest"]
    leftovers += console.log_files(name)
    return service_manager.remove_leftovers(leftovers) or stopped or bool(listed)


def _ids(spec: GuestSpec) -> subordinate_ids.IdRange:
    return subordinate_ids.IdRange(subordinate_ids.owner(spec.name), spec.uid_base, spec.uid_count)


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
