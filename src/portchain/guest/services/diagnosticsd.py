"""diagnosticsd: the ways into the guest. Each connection to debug-shell.sock gets a root shell, to ssh.sock an sshd.

Both run in the guest's own root, beside its init, not in the service's.
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

from .. import PATH
from .unix_socket import listen

_FOLDER = Path("/run/guest-services")
_INTO_GUEST = ("nsenter", "--target", "1", "--mount", "--wdns=/", "--")
DOORS = {
    "debug-shell.sock": ("/bin/sh", "-i", "+m"),
    "ssh.sock": ("/usr/sbin/sshd", "-i", "-e", "-f", "/etc/ssh/sshd_config"),
}
_ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "PS1": "$PWD # ",
}
_MOST = 64


def serve(connection: socket.socket, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Run ``command`` in the guest's root with ``connection`` as its terminal."""
    terminal = connection.fileno()
    return subprocess.Popen(
        [*_INTO_GUEST, *command],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.DEVNULL if "sshd" in command[0] else terminal,
        env=_ENVIRONMENT,
        start_new_session=True,
    )


def main() -> int:
    """Serve until told to end."""
    selector = selectors.DefaultSelector()
    for name, command in DOORS.items():
        selector.register(listen(_FOLDER / name), selectors.EVENT_READ, command)
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
