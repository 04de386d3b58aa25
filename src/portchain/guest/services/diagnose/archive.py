"""Collect the guest's diagnostics as a tar archive; diagnosticsd runs this for each client of diagnostics.sock.

Usage: python3 -m portchain.guest.services.diagnose.archive > ARCHIVE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ....http.server import RequestError
from ....linux.evidence_archive import Probe, ProbeError, end_of, gather, run, write_stream
from ...engine_api import ask
from .diagnosticsd import PYTHON

_SECONDS = 60.0
_MOST_CONTAINERS = 100
_COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "services/health.json": ("How each service is", (*PYTHON, "portchain.guest.health")),
    "services/containers.txt": ("Services in containerd", ("ctr", "-n", "services.linuxkit", "container", "ls")),
    "services/tasks.txt": ("Their processes", ("ctr", "-n", "services.linuxkit", "task", "ls")),
    "processes/tree.txt": ("Processes as a tree", ("pstree", "-alp")),
    "processes/list.txt": ("Processes and their memory", ("ps", "-e", "-o", "pid,ppid,user,stat,rss,nlwp,etime,args")),
    "network/sockets.txt": ("Listening sockets, and who holds them", ("ss", "--numeric", "-ltuxp")),
    "network/connections.txt": ("Connections", ("ss", "--numeric", "-tup")),
    "network/iptables.txt": ("IPv4 rules", ("iptables-save", "-c")),
    "network/ip6tables.txt": ("IPv6 rules", ("ip6tables-save", "-c")),
    "network/links.txt": ("Links", ("ip", "-details", "-statistics", "link")),
    "network/addresses.txt": ("Addresses", ("ip", "address")),
    "network/routes.txt": ("Routes", ("ip", "route", "show", "table", "all")),
    "network/neighbours.txt": ("Neighbours", ("ip", "neighbour")),
    "network/bridges.txt": ("Ports of the bridges", ("bridge", "link")),
    "system/disks.txt": ("File systems and what is free", ("df", "-h")),
    "system/sysctl.txt": (
        "The network's settings",
        ("sysctl", "-a", "--pattern", r"^net\.(ipv4|core)"),
    ),
    "versions/kernel.txt": ("The kernel", ("uname", "-a")),
    "versions/packages.txt": ("Packages of the guest's image", ("dpkg-query", "--show")),
    "versions/containerd.txt": ("containerd", ("containerd", "--version")),
    "versions/runc.txt": ("runc", ("runc", "--version")),
}
_FILES: dict[str, tuple[str, str]] = {
    "system/mounts.txt": ("Mounts", "/proc/mounts"),
    "system/memory.txt": ("Memory", "/proc/meminfo"),
    "system/uptime.txt": ("Seconds since the host's start", "/proc/uptime"),
    "versions/os-release.txt": ("Debian", "/etc/os-release"),
    "config/guest.json": ("The guest's settings", "/etc/portchain/guest.json"),
    "config/resolv.conf": ("Its resolver", "/etc/resolv.conf"),
    "config/hosts": ("Its hosts", "/etc/hosts"),
    "config/daemon.json": ("The engine's configuration", "/containers/services/docker/rootfs/etc/docker/daemon.json"),
}
_ENGINE: dict[str, tuple[str, str]] = {
    "engine/version.json": ("Versions of the engine", "/version"),
    "engine/info.json": ("The engine about itself", "/info"),
    "engine/containers.json": ("Containers", "/containers/json?all=1"),
    "engine/networks.json": ("Networks", "/networks"),
    "engine/images.json": ("Images", "/images/json"),
    "engine/volumes.json": ("Volumes", "/volumes"),
}


def ask_engine(url: str) -> Callable[[], bytes]:
    """Return a function that returns the engine's answer to GET ``url``, and raises ProbeError."""

    def read() -> bytes:
        try:
            return json.dumps(ask("GET", url)).encode()
        except RequestError as error:
            raise ProbeError(str(error)) from None

    return read


def container_probes() -> Iterator[Probe]:
    """Yield a probe for each container; none if the engine does not answer, which other probes report."""
    try:
        containers: list[dict[str, Any]] = ask("GET", f"/containers/json?all=1&limit={_MOST_CONTAINERS}")
    except RequestError:
        return
    for container in containers:
        name = container["Names"][0].strip("/") if container["Names"] else container["Id"][:12]
        inspect = ask_engine(f"/containers/{container['Id']}/json")
        yield Probe(f"engine/containers/{name}.json", f"Container {name}", inspect)


def probes() -> Iterator[Probe]:
    """Yield everything, in the order in which it is gathered."""
    for path, (title, command) in _COMMANDS.items():
        yield Probe(path, title, run(*command))
    for path, (title, file) in _FILES.items():
        yield Probe(path, title, end_of(Path(file)))
    for config in sorted(Path("/containers").glob("*/*/config.json")):
        name = config.parent.name
        yield Probe(f"config/{config.parent.parent.name}/{name}.json", f"The bundle of {name}", end_of(config))
    for path, (title, url) in _ENGINE.items():
        yield Probe(path, title, ask_engine(url))
    yield from container_probes()
    logs = Path("/var/log")
    for log in sorted({*logs.rglob("*.log"), *logs.rglob("*.log.[0-9]")}):
        yield Probe(f"logs/{log.relative_to(logs)}", f"Log of {log.stem}", end_of(log))


def main() -> int:
    """Write the archive to standard output."""
    write_stream(gather(probes(), _SECONDS), sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
