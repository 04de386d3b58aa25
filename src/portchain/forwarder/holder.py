"""Who holds a TCP port on this machine, as /proc tells."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from ..mapping.forward import Endpoint
from .plan import overlap

_LISTEN = "0A"


def listeners(table: str) -> Iterator[tuple[Endpoint, int]]:
    """The listening endpoints and their inodes in the text of /proc/net/tcp or tcp6.

    An IPv6 wildcard counts as the wildcard of both families: whether it is IPv6 only is not told there.
    """
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, port = fields[1].split(":")
            yield Endpoint("tcp", _address(address), int(port, 16)), int(fields[9])


def _address(text: str) -> str:
    """The kernel prints each 32-bit word of an address in its own byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    address = socket.inet_ntop(socket.AF_INET6 if len(words) == 4 else socket.AF_INET, packed)
    return "" if address == "::" else address


def find_holder(endpoint: Endpoint) -> str | None:
    """Say which process keeps ``endpoint`` from being bound, such as ``nginx, pid 42``; None when none does."""
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    inodes = {inode for table in tables for held, inode in listeners(table.read_text()) if overlap(held, endpoint)}
    return _process_with(inodes) if inodes else None


def _process_with(inodes: set[int]) -> str:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in wanted for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()}, pid {process.name}"
        except OSError:
            continue
    return "a process that cannot be seen from here"
