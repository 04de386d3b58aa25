"""A guest's name servers and search domains, from its file and the host's resolv.conf."""

from __future__ import annotations

import sys
from pathlib import Path

from ...name_resolution import NameResolution

_RESOLV_CONF = Path("/etc/resolv.conf")


class ResolutionFile:
    """Both files, read again when one of them changes. A file that is missing or cannot be read counts as empty."""

    def __init__(self, path: Path, resolv_conf: Path = _RESOLV_CONF) -> None:
        self._path = path
        self._resolv_conf = resolv_conf
        self._stamps: object = None
        self._resolution, self._text = NameResolution(), ""

    def name_servers(self) -> list[str]:
        """Return the addresses of the name servers, in the host's network."""
        self._refresh()
        return self._resolution.name_servers(self._text)

    def domains(self) -> list[str]:
        """Return the search domains."""
        self._refresh()
        return self._resolution.domains(self._text)

    def _refresh(self) -> None:
        stamps = _stamp(self._path), _stamp(self._resolv_conf)
        if stamps == self._stamps:
            return
        self._stamps = stamps
        self._resolution, self._text = NameResolution(), ""
        try:
            if stamps[1]:
                self._text = self._resolv_conf.read_text(errors="replace")
            if stamps[0]:
                self._resolution = NameResolution.load(self._path.read_text())
        except (OSError, TypeError, ValueError) as error:
            print(f"host: {self._path} and {self._resolv_conf} cannot be read: {error}", file=sys.stderr, flush=True)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what identifies a version of a file, None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
