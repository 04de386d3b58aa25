"""trim-after-delete: when images, containers or volumes are deleted, have the supervisor trim the data disk.

Space comes back to the host at most 10 s after a delete, however many deletes come at once.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
import urllib.parse
from collections.abc import Iterator

ENGINE = "/run/guest-services/docker.sock"
SUPERVISOR = "/run/host-services/supervisor.sock"
SETTLE = 3.0
_RETRY = 1.0
_FILTERS = {"type": ["image", "container", "volume"], "event": ["delete", "destroy", "prune"]}


def connect_events() -> socket.socket:
    """Ask the engine for the events of deletes; returns the connection, its answer still unread."""
    engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    engine.connect(ENGINE)
    query = urllib.parse.urlencode({"filters": json.dumps(_FILTERS)})
    engine.sendall(f"GET /events?{query} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
    return engine


def deletes(engine: socket.socket) -> Iterator[None]:
    """Yield once whenever events arrived and none followed for SETTLE seconds; end with the connection."""
    due: float | None = None
    header = b""
    while True:
        wait = None if due is None else max(0.0, due - time.monotonic())
        if select.select([engine], [], [], wait)[0]:
            data = engine.recv(65536)
            if not data:
                return
            if b"\r\n\r\n" not in header:
                header += data
                data = header.partition(b"\r\n\r\n")[2]
            if data.strip() and due is None:
                due = time.monotonic() + SETTLE
        elif due is not None:
            due = None
            yield


def trim() -> str:
    """Ask the supervisor to trim; returns its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as supervisor:
        supervisor.settimeout(60)
        supervisor.connect(SUPERVISOR)
        supervisor.sendall(b"trim\n")
        return supervisor.makefile().readline().strip()


def main() -> int:
    """Watch for as long as the guest runs; the engine may come and go."""
    while True:
        try:
            with connect_events() as engine:
                for _ in deletes(engine):
                    print(trim(), flush=True)
        except OSError as error:
            print(f"guest: engine or supervisor not there, trying again: {error}", file=sys.stderr, flush=True)
        time.sleep(_RETRY)


if __name__ == "__main__":
    sys.exit(main())
