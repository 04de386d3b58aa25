"""volume-contents: list and read the files of the engine's volumes, over HTTP.

GET /volumes                                      a list of {name, modified}
GET /volume-files?volumeId=NAME&targetPath=/PATH  the folder's entries, or the one file, as `describe_file` does
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

from ....http.server import BLOCK, HttpService, RequestError, ServiceRequest, ServiceResponse
from ....linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from ...service_socket import listen

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
    errno.ENOTDIR: (HTTPStatus.NOT_FOUND, "a part of the path is not a directory"),
    errno.EXDEV: (HTTPStatus.FORBIDDEN, "the path leads out of the volume"),
    errno.ELOOP: (HTTPStatus.FORBIDDEN, "the path has too many symbolic links"),
    errno.EACCES: (HTTPStatus.FORBIDDEN, "not readable"),
    errno.ENAMETOOLONG: (HTTPStatus.BAD_REQUEST, "the path is too long"),
}


def describe_file(name: str, status: os.stat_result) -> dict[str, Any]:
    """Describe a file: size in bytes, mode as ``ls`` prints it, modified in seconds since 1970."""
    return {
        "name": name,
        "type": _KINDS.get(stat.S_IFMT(status.st_mode), "device"),
        "size": status.st_size,
        "mode": stat.filemode(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "modified": status.st_mtime,
    }


class Volumes:
    """The volumes below ``root``: each in a folder of its name, its files in ``_data``."""

    def __init__(self, root: Path = VOLUMES) -> None:
        self._root = root

    def names(self) -> list[dict[str, Any]]:
        """Return the name and time of change of every volume, sorted by name."""
        volumes = []
        for folder in sorted(self._root.iterdir()):
            with contextlib.suppress(OSError):  # removed meanwhile
                volumes.append({"name": folder.name, "modified": (folder / "_data").lstat().st_mtime})
        return volumes

    def open(self, volume: str, path: str) -> int:
        """Return a descriptor (O_PATH) of the file at ``path`` in the volume; raise RequestError."""
        if not volume or "/" in volume or volume in (".", ".."):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"guest: {volume!r} cannot name a volume")
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

    def files(self, request: ServiceRequest) -> ServiceResponse:
        """List a folder's entries, or describe the one file."""
        volume, path = _parse_query(request)
        descriptor = self.open(volume, path)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            return ServiceResponse(_listing(descriptor))
        os.close(descriptor)
        return ServiceResponse([describe_file(Path(path).name, status)])

    def content(self, request: ServiceRequest) -> ServiceResponse:
        """Send a file's bytes."""
        volume, path = _parse_query(request)
        descriptor = self.open(volume, path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "device")
            raise RequestError(HTTPStatus.CONFLICT, f"guest: {volume}:{path} is a {kind}, not a file")
        return ServiceResponse(
            _read_bytes(descriptor, status.st_size), kind="application/octet-stream", length=status.st_size
        )


def _parse_query(request: ServiceRequest) -> tuple[str, str]:
    volume = request.query.get("volumeId")
    if not volume:
        raise RequestError(HTTPStatus.BAD_REQUEST, "guest: volumeId= is missing; it names the volume")
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
    """Open the file of an O_PATH descriptor for reading: the very file that was checked, so never a fifo or device."""
    try:
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    finally:
        os.close(descriptor)
    try:
        yield reading
    finally:
        os.close(reading)


def _listing(descriptor: int) -> Iterator[bytes]:
    """Yield the entries of a folder as a JSON list, one at a time, however many there are."""
    with _reopened(descriptor) as folder, os.scandir(folder) as entries:
        separator = b"["
        for entry in entries:
            with contextlib.suppress(OSError):  # removed meanwhile
                description = describe_file(entry.name, entry.stat(follow_symlinks=False))
                if entry.is_symlink():
                    description["target"] = os.readlink(entry.name, dir_fd=folder)
                yield separator + json.dumps(description).encode()
                separator = b",\n"
        yield b"]\n" if separator != b"[" else b"[]\n"


def _read_bytes(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes of a file; raise OSError if it has become shorter."""
    with _reopened(descriptor) as file:
        while size:
            block = os.read(file, min(size, BLOCK))
            if not block:
                raise OSError("the file was cut short while it was read")
            size -= len(block)
            yield block


def route_requests(volumes: Volumes) -> Callable[[ServiceRequest], ServiceResponse]:
    """Return the function that answers requests to the service's socket."""
    routes: dict[tuple[str, str], Callable[[ServiceRequest], ServiceResponse]] = {
        ("GET", "/volumes"): lambda _: ServiceResponse(volumes.names()),
        ("GET", "/volume-files"): volumes.files,
        ("GET", "/volume-file-content"): volumes.content,
    }

    def answer(request: ServiceRequest) -> ServiceResponse:
        route = routes.get((request.method, request.path))
        if route is None:
            message = f"volume-contents: no {request.method} {request.path}"
            raise RequestError(HTTPStatus.NOT_FOUND, message)
        return route(request)

    return answer


def main() -> int:
    """Serve until the process is ended."""
    HttpService(listen(SOCKET), route_requests(Volumes())).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
