"""Ports of the host that a test may have."""

from __future__ import annotations

import itertools
import os
import socket

# Beyond the reach of random ports: those of the host's publications, and those that kernels give to clients. Processes
# that run tests side by side have a thousand each.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
_ports = itertools.count(20000 + 1000 * int(_worker))


def free_ports(count: int = 1) -> list[int]:
    """TCP and UDP ports that nobody holds and no other test is given, one after the other."""
    while True:
        found = [next(_ports) for _ in range(count)]
        if all(map(_is_free, found)):
            return found


def free_port() -> int:
    """A TCP and UDP port that nobody holds and no other test is given."""
    return free_ports()[0]


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6, kind) as trial:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                trial.bind(("::", port))
            except OSError:
                return False
    return True
