"""The unix sockets on which services listen."""

from __future__ import annotations

import socket
from pathlib import Path


def listen(path: Path) -> socket.socket:
    """Listen at ``path`` for root alone, replacing an earlier socket; return the listening socket."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(16)
    return listener
