"""diagnosticsd: run a command in the guest for each connection to its sockets.

debug-shell.sock runs a root shell, ssh.sock an sshd, diagnostics.sock `archive`, evidence.sock `evidence`. They run in
the guest's own root, beside its init, not in the service's.
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

from ....linuxkit.paths import PATH
from ...service_socket import listen

_FOLDER = Path("/run/guest-services")
PYTHON = ("env", "PYTHONPATH=/usr/lib/portchain", "PYTHONDONTWRITEBYTECODE=1", "python3", "-m")
_ENTER_GUEST = ("nsenter", "--target", "1", "--mount", "--wdns=/", "--")


class SocketCommand(NamedTuple):
    """The command to run for a connection, and where its standard error goes, as subprocess takes it."""

    command: tuple[str, ...]
    stderr: int | None


COMMANDS = {
    "debug-shell.sock": SocketCommand(("/bin/sh", "-i", "+m"), subprocess.STDOUT),
    "ssh.sock": SocketCommand(("/usr/sbin/sshd", "-i", "-e", "-f", "/etc/ssh/sshd_config"), subprocess.DEVNULL),
    "diagnostics.sock": SocketCommand((*PYTHON, "portchain.guest.services.diagnose.archive"), None),
    "evidence.sock": SocketCommand((*PYTHON, "portchain.guest.services.diagnose.evidence"), None),
}
_ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "PS1": "$PWD # ",
}
_MAX_CONNECTIONS = 64


def serve(connection: socket.socket, served: SocketCommand) -> subprocess.Popen[bytes]:
    """Run a socket's command in the guest's root, with ``connection`` as its standard input and output."""
    descriptor = connection.fileno()
    return subprocess.Popen(
        [*_ENTER_GUEST, *served.command],
        stdin=descriptor,
        stdout=descriptor,
        stderr=served.stderr,
        env=_ENVIRONMENT,
        start_new_session=True,
    )


def main() -> int:
    """Serve until the process is ended."""
    selector = selectors.DefaultSelector()
    for name, served in COMMANDS.items():
        selector.register(listen(_FOLDER / name), selectors.EVENT_READ, served)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children: list[subprocess.Popen[bytes]] = []
    while True:
        for key, _ in selector.select(1.0):
            assert isinstance(key.fileobj, socket.socket)
            with contextlib.suppress(OSError):
                connection, _ = key.fileobj.accept()
                with connection:
                    if len(children) < _MAX_CONNECTIONS:
                        children.append(serve(connection, key.data))
        children = [child for child in children if child.poll() is None]


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
