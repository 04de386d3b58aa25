"""volume-contents: list and read the files of the engine's volumes, over HTTP.

GET /volumes                                      a list of {name, modified}
GET /volume-files?volumeId=NAME&targetPath=/PATH  the folder's entries, or the one file, as `entry` describes
GET /volume-file-content?volumeId=…&targetPath=…  the file's bytes

Paths are resolved by the kernel, beneath the volume's folder and never out of it: openat2(2) with RESOLVE_BENEATH.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..kernel import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from .http_service import BLOCK, HttpService, Request, RequestError, Response
from .unix_socket import listen

SOCKET = Path("/run/guest-services/volume-contents.sock")
VOLUMES = Path("/var/lib/docker/volumes")
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_REFUSALS = {
    errno.ENOENT: (HTTPStatus.NOT_FOUND, "no such file or directory"),
    errno.ENOTDIR: (HTTPStatus.NOT_FOUND, "a part of the path is no directory"),
    errno.EXDEV: (HTTPStatus.FORBIDDEN, "the path leads out of the volume"),
    errno.ELOOP: (HTTPStatus.FORBIDDEN, "the path has too many symbolic links"),
    errno.EACCES: (HTTPStatus.FORBIDDEN, "not readable"),
    errno.ENAMETOOLONG: (HTTPStatus.BAD_REQUEST, "the path is too long"),
}


def entry(name: str, found: os.stat_result) -> dict[str, Any]:
    """A file: size in bytes, mode as ``ls`` has it, modified in seconds since 1970."""
    return {
        "name": name,
        "type": _KINDS.get(stat.S_IFMT(found.st_mode), "device"),
        "size": found.st_size,
        "mode": stat.filemode(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "modified": found.st_mtime,
    }


class Volumes:
    """The volumes below ``root``: each in a folder of its name, its files in ``_data``."""

    def __init__(self, root: Path = VOLUMES) -> None:
        self._root = root

    def names(self) -> list[dict[str, Any]]:
        """Every volume, sorted."""
        found = []
        for folder in sorted(self._root.iterdir()):
            with contextlib.suppress(OSError):  # removed meanwhile
                found.append({"name": folder.name, "modified": (folder / "_data").lstat().st_mtime})
        return found

    def open(self, volume: str, path: str) -> int:
        """A descriptor (O_PATH) of what ``path`` names in the volume; raise RequestError."""
        if not volume or "/" in volume or volume in (".", ".."):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"guest: {volume!r} is no volume's name")
        with _folder(self._root) as root:
            try:
                data = openat2(root, f"{volume}/_data", os.O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            except OSError:
                raise RequestError(HTTPStatus.NOT_FOUND, f"guest: no volume {volume}") from None
        try:
            return openat2(data, path.lstrip("/") or ".", os.O_PATH, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else None
            status, reason = _REFUSALS.get(number or 0, (HTTPStatus.BAD_REQUEST, str(error)))
            raise RequestError(status, f"guest: {volume}:{path}: {reason}") from None
        finally:
            os.close(data)

    def files(self, request: Request) -> Response:
        """What a folder has in it, or the one file."""
        volume, path = _place(request)
        descriptor = self.open(volume, path)
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            return Response(_listing(descriptor))
        os.close(descriptor)
        return Response([entry(Path(path).name, found)])

    def content(self, request: Request) -> Response:
        """A file's bytes."""
        volume, path = _place(request)
        descriptor = self.open(volume, path)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "device")
            raise RequestError(HTTPStatus.CONFLICT, f"guest: {volume}:{path} is a {kind}, not a file")
        return Response(_bytes(descriptor, found.st_size), kind="application/octet-stream", length=found.st_size)


def _place(request: Request) -> tuple[str, str]:
    volume = request.query.get("volumeId")
    if not volume:
        raise RequestError(HTTPStatus.BAD_REQUEST, "guest: volumeId= names the volume, and is missing")
    return volume, request.query.get("targetPath", "/")


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _reopened(descriptor: int) -> Iterator[int]:
    """The same file, to be read: only what was looked at is ever opened, so that no fifo or device is."""
    try:
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    finally:
        os.close(descriptor)
    try:
        yield reading
    finally:
        os.close(reading)


def _listing(descriptor: int) -> Iterator[bytes]:
    """The entries of a folder as a JSON list, one at a time, however many there are."""
    with _reopened(descriptor) as folder, os.scandir(folder) as entries:
        before = b"["
        for one in entries:
            with contextlib.suppress(OSError):  # removed meanwhile
                described = entry(one.name, one.stat(follow_symlinks=False))
                if one.is_symlink():
                    described["target"] = os.readlink(one.name, dir_fd=folder)
                yield before + json.dumps(described).encode()
                before = b",\n"
        yield b"]\n" if before != b"[" else b"[]\n"


def _bytes(descriptor: int, size: int) -> Iterator[bytes]:
    """``size`` bytes of a file; raise OSError where it has become shorter."""
    with _reopened(descriptor) as file:
        while size:
            piece = os.read(file, min(size, BLOCK))
            if not piece:
                raise OSError("the file was cut short while it was read")
            size -= len(piece)
            yield piece


def respond(volumes: Volumes) -> Callable[[Request], Response]:
    """What the socket answers."""
    routes: dict[tuple[str, str], Callable[[Request], Response]] = {
        ("GET", "/volumes"): lambda _: Response(volumes.names()),
        ("GET", "/volume-files"): volumes.files,
        ("GET", "/volume-file-content"): volumes.content,
    }

    def answer(request: Request) -> Response:
        route = routes.get((request.method, request.path))
        if route is None:
            message = f"volume-contents: no {request.method} {request.path}"
            raise RequestError(HTTPStatus.NOT_FOUND, message)
        return route(request)

    return answer


def main() -> int:
    """Serve until told to end."""
    HttpService(listen(SOCKET), respond(Volumes())).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
