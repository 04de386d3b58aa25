"""Where a service listens."""

from __future__ import annotations

import socket
from pathlib import Path


def listen(path: Path) -> socket.socket:
    """Listen at ``path``, for the guest's root alone."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(path))
    path.chmod(0o600)
    door.listen(16)
    return door
