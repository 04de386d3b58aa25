"""The probes that gather evidence on the host about one guest: files, logs, processes, commands and versions."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ..host import guests
from ..host.drivers.namespace.console import log_files
from ..http import blocking_client
from ..linux import service_manager
from ..linux.evidence_archive import Probe, ProbeError, end_of, run

_SECONDS = 5.0
_DAEMONS = ("guest", "forwarder", "relay")
_PACKAGES = ("dnsmasq-base", "iproute2", "mmdebstrap", "passt", "python3", "runit", "systemd", "tini", "util-linux")
_COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "network/sockets.txt": ("Listening sockets, and who holds them", ("ss", "--numeric", "-ltup")),
    "network/addresses.txt": ("Addresses", ("ip", "-brief", "address")),
    "network/routes.txt": ("Routes", ("ip", "route")),
    "system/disks.txt": ("File systems and what is free", ("df", "-h")),
    "versions/kernel.txt": ("The kernel", ("uname", "-a")),
}
_FILES: dict[str, tuple[str, str]] = {
    "system/memory.txt": ("Memory", "/proc/meminfo"),
    "system/cgroups.txt": ("Control groups of the kernel", "/proc/cgroups"),
    "system/mounts.txt": ("Mounts", "/proc/mounts"),
    "system/limits.txt": ("Limits of this process", "/proc/self/limits"),
    "system/subuid.txt": ("Ranges of user ids", "/etc/subuid"),
    "versions/os-release.txt": ("The system", "/etc/os-release"),
}
_CONTROL: dict[str, tuple[str, str]] = {
    "forwarder/status.json": ("The forwarder about itself", "/status"),
    "forwarder/forwards.json": ("Forwards", "/forwards"),
    "forwarder/metrics.txt": ("Their metrics", "/metrics"),
}


def probes(guest: str) -> Iterator[Probe]:
    """Yield all probes, in the order in which they run."""
    yield Probe("guest/status.json", "How the guest is", lambda: json.dumps(guests.status(guest).as_dict()).encode())
    for path, (title, url) in _CONTROL.items():
        yield Probe(path, title, ask_forwarder(guest, url))
    yield from file_probes(guest)
    for name in _DAEMONS:
        yield from log_probes(service_manager.Daemon(name, guest))
    yield Probe("sockets.txt", "Sockets of the guest", run("ls", "-lAR", str(service_manager.RUN / guest)))
    yield Probe("processes.txt", "Processes of portchain", list_processes)
    for path, (title, command) in _COMMANDS.items():
        yield Probe(path, title, run(*command))
    for path, (title, file) in _FILES.items():
        yield Probe(path, title, end_of(Path(file)))
    yield Probe("versions/packages.txt", "Packages that matter", list_packages)
    python = f"{sys.version}\n{platform.platform()}\n"
    yield Probe("versions/python.txt", "The command's own Python", python.encode)


def ask_forwarder(guest: str, url: str) -> Callable[[], bytes]:
    """Return a function that gets ``url`` from the guest's forwarder; it raises ProbeError or OSError."""

    def read() -> bytes:
        status, body = blocking_client.request(str(service_manager.RUN / guest / "control.sock"), "GET", url, _SECONDS)
        if status != 200:
            raise ProbeError(f"GET {url}: {status}")
        return body

    return read


def file_probes(guest: str) -> Iterator[Probe]:
    """Yield the probes of the guest's state and settings files, and of its console."""
    yield Probe("guest/state.json", "What the supervisor runs", end_of(service_manager.RUN / guest / "state.json"))
    for path in sorted((service_manager.STATE / guest).glob("*.json")):
        yield Probe(f"config/{path.name}", f"Kept in {path}", end_of(path))
    for number, path in enumerate(filter(Path.exists, log_files(guest))):
        yield Probe(f"logs/console.{number}.txt", "The guest's console", end_of(path))


def log_probes(daemon: service_manager.Daemon) -> Iterator[Probe]:
    """Yield the probes of a daemon's status and logs."""
    prefix, title = f"logs/{daemon.name}", f"Log of the {daemon.name}'s daemon"
    if service_manager.under_systemd():
        yield Probe(
            f"{prefix}.status.txt", f"The {daemon.name}'s unit", run("systemctl", "status", "--no-pager", daemon.unit)
        )
        yield Probe(f"{prefix}.txt", title, run("journalctl", "--no-pager", "-n", "5000", "-u", daemon.unit))
        return
    yield Probe(
        f"{prefix}.status.txt", f"How runit keeps the {daemon.name}'s daemon", run("sv", "status", str(daemon.folder))
    )
    yield Probe(f"{prefix}.txt", title, end_of(daemon.logs / "current"))
    for number, path in enumerate(sorted(daemon.logs.glob("@*"), reverse=True)):
        yield Probe(f"{prefix}.{number}.txt", f"{title}, earlier", end_of(path))


def list_processes() -> bytes:
    """List the processes of portchain, and no others."""
    lines = run("ps", "-e", "-o", "pid,ppid,user,stat,rss,etime,args")().decode(errors="replace").splitlines()
    return "\n".join([lines[0], *(line for line in lines[1:] if "portchain" in line)]).encode() + b"\n"


def list_packages() -> bytes:
    """List the versions of the host's packages that portchain uses, and name the missing ones."""
    command = ["dpkg-query", "--show", *_PACKAGES]
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    return done.stdout + done.stderr
