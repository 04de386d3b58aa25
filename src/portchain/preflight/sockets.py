"""The machine's own listening sockets, and who holds them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..mapping.conflict import clash
from ..mapping.forward import Endpoint

_HELD = {"tcp": ("0A",), "udp": ("07", "01")}  # states; a udp socket holds its port while it is connected too
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True, order=True)
class Process:
    """A process and what it was started as."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid})"


def parse_sockets(text: str, protocol: str) -> dict[int, Endpoint]:
    """The listening sockets in the text of a file of /proc/net, by inode.

    A socket on :: counts as one on both families, for the file does not tell.
    """
    found: dict[int, Endpoint] = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if words[3] in _HELD[protocol]:
            address, _, port = words[1].partition(":")
            found[int(words[9])] = Endpoint(protocol, _address(address), int(port, 16))
    return found


def _address(digits: str) -> str:
    """Words of 32 bits in the machine's own byte order."""
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "" if str(mapped) == "::" else str(mapped)


def listening(proc: Path = Path("/proc")) -> dict[int, Endpoint]:
    """The machine's listening TCP and UDP sockets, by inode."""
    found: dict[int, Endpoint] = {}
    for protocol in _HELD:
        for name in (protocol, f"{protocol}6"):
            source = proc / "net" / name
            if source.exists():
                found |= parse_sockets(source.read_text(), protocol)
    return found


def why_not_bound(endpoint: Endpoint) -> OSError | None:
    """What the kernel says to listening there, by trying; None if it may be done, or cannot be tried (unix)."""
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


def holders(wanted: Collection[Endpoint], proc: Path = Path("/proc")) -> dict[Endpoint, list[Process]]:
    """The processes that may be seen holding sockets that clash with each of ``wanted``."""
    sockets = {inode: held for inode, held in listening(proc).items() if any(clash(held, w) for w in wanted)}
    held_by = processes(sockets, proc)
    return {
        endpoint: sorted(
            {one for inode, held in sockets.items() if clash(endpoint, held) for one in held_by.get(inode, ())}
        )
        for endpoint in wanted
    }


def processes(
    inodes: Collection[int], proc: Path = Path("/proc"), pids: Collection[int] | None = None
) -> dict[int, list[Process]]:
    """The processes, of all or of ``pids``, that may be seen holding each of the sockets."""
    wanted, found = set(inodes), dict[int, list[Process]]()
    folders = proc.glob("[0-9]*") if pids is None else [proc / str(pid) for pid in pids]
    for folder in folders if wanted else ():
        for inode in inodes_of(folder) & wanted:
            found.setdefault(inode, []).append(Process(int(folder.name), _command(folder)))
    return found


def inodes_of(folder: Path) -> set[int]:
    """The sockets that a process holds; none where it has ended or is another user's."""
    found: set[int] = set()
    descriptors = f"{folder}/fd/"
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(descriptors):  # noqa: PTH208 — pathlib takes three times as long
            with contextlib.suppress(OSError):
                link = os.readlink(descriptors + descriptor)  # noqa: PTH115
                if link.startswith("socket:["):
                    found.add(int(link[8:-1]))
    return found


def _command(folder: Path) -> str:
    try:
        text = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "a process that has ended"
    return " ".join(text.split())[:80]
