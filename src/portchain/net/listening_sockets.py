"""Find the machine's listening sockets and the processes that hold them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..ports.conflicts import clash
from ..ports.forward import Endpoint
from .socket_diagnostics import list_port_holders

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True, order=True)
class SocketHolder:
    """A process that holds a socket, and the command line that started it."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid})"


def list_sockets() -> dict[int, Endpoint]:
    """Return the machine's sockets that hold a TCP or UDP port, by inode.

    They serve to name the processes behind a port: where the kernel refuses to list them, none are returned, and
    nothing fails.
    """
    sockets: dict[int, Endpoint] = {}
    for protocol in _KINDS:
        with contextlib.suppress(OSError):
            sockets |= list_port_holders(protocol)
    return sockets


def try_bind(endpoint: Endpoint) -> OSError | None:
    """Try to bind ``endpoint``; return the error, or None. Unix sockets are not tried."""
    if endpoint.protocol == "unix":
        return None
    for address in [endpoint.address] if endpoint.address else ["0.0.0.0", "::"]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, _KINDS[endpoint.protocol]) as trial:
                if endpoint.protocol == "tcp":
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind((address, endpoint.port))
        except OSError as error:
            if endpoint.address or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return error
    return None


def find_holders(endpoints: Collection[Endpoint], proc: Path = Path("/proc")) -> dict[Endpoint, list[SocketHolder]]:
    """Return for each endpoint the processes whose sockets clash with it, as far as they can be seen."""
    sockets = {
        inode: bound for inode, bound in list_sockets().items() if any(clash(bound, endpoint) for endpoint in endpoints)
    }
    processes = find_processes(sockets, proc)
    return {
        endpoint: sorted(
            {
                process
                for inode, bound in sockets.items()
                if clash(endpoint, bound)
                for process in processes.get(inode, ())
            }
        )
        for endpoint in endpoints
    }


def find_processes(
    inodes: Collection[int], proc: Path = Path("/proc"), pids: Collection[int] | None = None
) -> dict[int, list[SocketHolder]]:
    """Return the processes that hold each socket, as far as they can be seen; look only at ``pids``, or at all."""
    wanted, holders = set(inodes), dict[int, list[SocketHolder]]()
    folders = proc.glob("[0-9]*") if pids is None else [proc / str(pid) for pid in pids]
    for folder in folders if wanted else ():
        for inode in inodes_of(folder) & wanted:
            holders.setdefault(inode, []).append(SocketHolder(int(folder.name), _command(folder)))
    return holders


def inodes_of(folder: Path) -> set[int]:
    """Return the sockets that a process holds; none if it has ended or is another user's."""
    inodes: set[int] = set()
    descriptors = f"{folder}/fd/"
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(descriptors):  # noqa: PTH208 — pathlib takes three times as long
            with contextlib.suppress(OSError):
                link = os.readlink(descriptors + descriptor)  # noqa: PTH115
                if link.startswith("socket:["):
                    inodes.add(int(link[8:-1]))
    return inodes


def _command(folder: Path) -> str:
    try:
        text = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "a process that has ended"
    return " ".join(text.split())[:80]
