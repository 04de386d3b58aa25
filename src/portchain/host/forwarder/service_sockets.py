"""The sockets on the host that lead to the guest's services."""

from __future__ import annotations

import logging
from pathlib import Path

from ...linuxkit import host_sockets
from .table import ForwardTable

ORIGIN = "system"

log = logging.getLogger(__name__)


class ServiceSockets:
    """Keeps the sockets in ``run_dir`` that the file ``path`` names.

    The file is written again whenever the guest's YAML changes.
    """

    def __init__(self, path: Path, run_dir: Path, table: ForwardTable) -> None:
        self._path = path
        self._run_dir = run_dir
        self._table = table
        self._version: tuple[int, int] | None = None

    def follow(self) -> None:
        """Read the file if it has changed, and open and close sockets accordingly."""
        version = self._current_version()
        if version == self._version:
            return
        self._version = version
        try:
            wanted = host_sockets.forwards(self._path.read_text(), str(self._run_dir)) if version else []
        except (OSError, ValueError) as error:
            log.error("host: %s cannot be read: %s; the sockets stay as they are", self._path, error)
            return
        self._table.keep(wanted, ORIGIN)

    def _current_version(self) -> tuple[int, int] | None:
        """Return what differs between two contents of the file; None if there is no file."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns
