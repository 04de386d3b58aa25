"""The socket at which the guest requests a trim of its data disk, which a user namespace does not allow it to do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path

from ....protocol.trim import MINIMUM_INTERVAL, REQUEST, TOO_SOON
from . import disk

_CLIENT_SECONDS = 1.0


class TrimServer:
    """Listens at ``path`` for the user ``owner``; a client sends ``trim`` and reads one line of JSON.

    The line is the result of `disk.trim` for ``image``, mounted on ``data``, or an ``error`` with a reason.
    """

    def __init__(self, path: Path, owner: int, image: Path, data: Path) -> None:
        self._path = path
        self._image = image
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
        """Return the listening descriptor, for a selector."""
        return self._socket.fileno()

    def serve_one(self) -> None:
        """Answer one client. The guest is not trusted, so a slow or wrong request is dropped."""
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(_CLIENT_SECONDS)
                if connection.recv(len(REQUEST)) == REQUEST:
                    connection.sendall(f"{json.dumps(self._trim())}\n".encode())

    def _trim(self) -> dict[str, int] | dict[str, str]:
        if time.monotonic() - self._last < MINIMUM_INTERVAL:
            return {"error": TOO_SOON}
        self._last = time.monotonic()
        try:
            return asdict(disk.trim(self._image, self._data))
        except disk.DiskError as error:
            return {"error": str(error)}

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
