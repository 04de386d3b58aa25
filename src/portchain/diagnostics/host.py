"""What is gathered on the host about one guest."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import daemon, unix_http
from ..guest import manage
from .gather import Probe, ProbeError, end_of, run

_SECONDS = 5.0
_DAEMONS = ("guest", "forwarder")
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
    """Everything, in the order in which it is gathered."""
    yield Probe("guest/status.json", "How the guest is", lambda: json.dumps(manage.status(guest).as_dict()).encode())
    for path, (title, url) in _CONTROL.items():
        yield Probe(path, title, of_forwarder(guest, url))
    yield from files(guest)
    for name in _DAEMONS:
        yield from logs(daemon.Daemon(name, guest))
    yield Probe("sockets.txt", "Sockets of the guest", run("ls", "-lAR", str(daemon.RUN / guest)))
    yield Probe("processes.txt", "Processes of portchain", processes)
    for path, (title, command) in _COMMANDS.items():
        yield Probe(path, title, run(*command))
    for path, (title, file) in _FILES.items():
        yield Probe(path, title, end_of(Path(file)))
    yield Probe("versions/packages.txt", "Packages that matter", packages)
    python = f"{sys.version}\n{platform.platform()}\n"
    yield Probe("versions/python.txt", "The command's own Python", python.encode)


def of_forwarder(guest: str, url: str) -> Callable[[], bytes]:
    """An answer of the guest's forwarder."""

    def read() -> bytes:
        status, body = unix_http.request(str(daemon.RUN / guest / "control.sock"), "GET", url, _SECONDS)
        if status != 200:
            raise ProbeError(f"GET {url}: {status}")
        return body

    return read


def files(guest: str) -> Iterator[Probe]:
    """What is kept about the guest."""
    yield Probe("guest/state.json", "What the supervisor runs", end_of(daemon.RUN / guest / "state.json"))
    for path in sorted((daemon.STATE / guest).glob("*.json")):
        yield Probe(f"config/{path.name}", f"Kept in {path}", end_of(path))


def logs(one: daemon.Daemon) -> Iterator[Probe]:
    """How a daemon is, and its log."""
    where, title = f"logs/{one.name}", f"Log of the {one.name}'s daemon"
    if daemon.under_systemd():
        yield Probe(f"{where}.status.txt", f"The {one.name}'s unit", run("systemctl", "status", "--no-pager", one.unit))
        yield Probe(f"{where}.txt", title, run("journalctl", "--no-pager", "-n", "5000", "-u", one.unit))
        return
    yield Probe(f"{where}.status.txt", f"How runit keeps the {one.name}'s daemon", run("sv", "status", str(one.folder)))
    yield Probe(f"{where}.txt", title, end_of(one.logs / "current"))
    for number, path in enumerate(sorted(one.logs.glob("@*"), reverse=True)):
        yield Probe(f"{where}.{number}.txt", f"{title}, earlier", end_of(path))


def processes() -> bytes:
    """The daemons, and nothing of others'."""
    lines = run("ps", "-e", "-o", "pid,ppid,user,stat,rss,etime,args")().decode(errors="replace").splitlines()
    return "\n".join([lines[0], *(line for line in lines[1:] if "portchain" in line)]).encode() + b"\n"


def packages() -> bytes:
    """Those of the host's that portchain uses; missing ones are said to be."""
    command = ["dpkg-query", "--show", *_PACKAGES]
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    return done.stdout + done.stderr
