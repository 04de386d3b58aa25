"""The socket at which the guest asks for its data disk to be trimmed: it may not do so itself in a user namespace."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from . import disk

REQUEST = b"trim\n"
_MINIMUM_INTERVAL = 2.0
_PATIENCE = 1.0


class TrimServer:
    """Listens at ``path`` for the user ``owner``; each connection sends ``trim`` and reads one line of answer."""

    def __init__(self, path: Path, owner: int, data: Path) -> None:
        self._path = path
        self._data = data
        self._last = 0.0
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        os.chown(path, owner, owner)
        self._socket.listen(4)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The listening descriptor, for a selector."""
        return self._socket.fileno()

    def serve_one(self) -> None:
        """Answer one connection. The guest is not trusted: a slow or wrong one is dropped."""
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(_PATIENCE)
                if connection.recv(len(REQUEST)) == REQUEST:
                    connection.sendall(f"{self._trim()}\n".encode())

    def _trim(self) -> str:
        if time.monotonic() - self._last < _MINIMUM_INTERVAL:
            return "error: too soon"
        self._last = time.monotonic()
        try:
            return f"ok: {disk.trim(self._data)}"
        except disk.DiskError as error:
            return f"error: {error}"

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
