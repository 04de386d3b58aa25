"""diagnosticsd: the ways into the guest.

Each connection to debug-shell.sock gets a root shell, to ssh.sock an sshd, to diagnostics.sock what `diagnostics`
gathers, to evidence.sock what `evidence` tells. They run in the guest's own root, beside its init, not in the
service's.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .. import PATH
from .unix_socket import listen

_FOLDER = Path("/run/guest-services")
PYTHON = ("env", "PYTHONPATH=/usr/lib/portchain", "PYTHONDONTWRITEBYTECODE=1", "python3", "-m")
_INTO_GUEST = ("nsenter", "--target", "1", "--mount", "--wdns=/", "--")


class Door(NamedTuple):
    """What is run for a connection, and where its complaints go: as subprocess has it."""

    command: tuple[str, ...]
    complaints: int | None


DOORS = {
    "debug-shell.sock": Door(("/bin/sh", "-i", "+m"), subprocess.STDOUT),
    "ssh.sock": Door(("/usr/sbin/sshd", "-i", "-e", "-f", "/etc/ssh/sshd_config"), subprocess.DEVNULL),
    "diagnostics.sock": Door((*PYTHON, "portchain.guest.services.diagnostics"), None),
    "evidence.sock": Door((*PYTHON, "portchain.guest.services.evidence"), None),
}
_ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "PS1": "$PWD # ",
}
_MOST = 64


def serve(connection: socket.socket, door: Door) -> subprocess.Popen[bytes]:
    """Run what is behind ``door`` in the guest's root with ``connection`` as its terminal."""
    terminal = connection.fileno()
    return subprocess.Popen(
        [*_INTO_GUEST, *door.command],
        stdin=terminal,
        stdout=terminal,
        stderr=door.complaints,
        env=_ENVIRONMENT,
        start_new_session=True,
    )


def main() -> int:
    """Serve until told to end."""
    selector = selectors.DefaultSelector()
    for name, door in DOORS.items():
        selector.register(listen(_FOLDER / name), selectors.EVENT_READ, door)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children: list[subprocess.Popen[bytes]] = []
    while True:
        for key, _ in selector.select(1.0):
            assert isinstance(key.fileobj, socket.socket)
            with contextlib.suppress(OSError):
                connection, _ = key.fileobj.accept()
                with connection:
                    if len(children) < _MOST:
                        children.append(serve(connection, key.data))
        children = [child for child in children if child.poll() is None]


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
