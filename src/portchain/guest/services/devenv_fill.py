"""Ways to fill a folder: a clone by git in the guest, a bundle of git's or a tar archive that the client sends.

Each yields what is to be told about the progress, and raises RequestError. Everything becomes root's own.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

from .devenv import Filling, without_password
from .http_service import RequestError

SCHEMES = ("https", "http", "git")
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LC_ALL": "C.UTF-8",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
}
_STALL_SECONDS = 300.0
_TICK = 1.0
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://[^/]", re.IGNORECASE)


def check_url(url: str) -> None:
    """Raise RequestError for what git in the guest is not to be given."""
    scheme = _URL.match(url)
    if not scheme or scheme[1].lower() not in SCHEMES:
        message = (
            f"guest: {without_password(url)!r} is not cloned in the guest, only {', '.join(SCHEMES)} URLs are; for "
            "others use portchain devenv create on the host, which has your keys and folders"
        )
        raise RequestError(HTTPStatus.BAD_REQUEST, message)


def from_git(filling: Filling, url: str, branch: str) -> Iterator[str]:
    """Clone ``url``, the branch or tag ``branch`` checked out, or the repository's own choice."""
    yield from _clone(filling, url, branch, ":".join(SCHEMES))


def from_bundle(filling: Filling, body: Iterator[bytes], branch: str) -> Iterator[str]:
    """Clone the bundle in ``body``; ``origin`` is the filling's source."""
    bundle = filling.scratch
    with bundle.open("wb") as file:
        yield from _counted(filling, body, file.write)
    yield from _clone(filling, str(bundle), branch, "file")
    bundle.unlink()
    yield from _run(["git", "-C", str(filling.folder), "remote", "set-url", "origin", filling.source])


def from_tar(filling: Filling, body: Iterator[bytes]) -> Iterator[str]:
    """Unpack the tar archive in ``body``. Set-user-id is dropped: all is root's here."""
    options = ("--no-same-owner", "--no-same-permissions", "--no-overwrite-dir", "--delay-directory-restore")
    command = ["tar", "--extract", "--file=-", f"--directory={filling.folder}", *options]
    with filling.scratch.open("w+b") as said:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, env=_ENVIRONMENT, umask=0, bufsize=0) as tar:
            assert tar.stdin
            try:
                yield from _counted(filling, body, tar.stdin.write)
            except BrokenPipeError:
                pass  # it says below why it ended
            except BaseException:
                tar.kill()
                raise
        if tar.returncode:
            said.seek(0)
            reason = said.read(4096).decode(errors="replace").strip()
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"guest: {reason or 'tar was killed'}")


def _clone(filling: Filling, source: str, branch: str, protocols: str) -> Iterator[str]:
    words = ["--branch", branch] if branch else []
    command = ["git", "clone", "--progress", *words, "--", source, str(filling.folder)]
    for line in _run(command, {"GIT_ALLOW_PROTOCOL": protocols}):
        filling.progress = without_password(line)
        yield filling.progress


def _counted(filling: Filling, body: Iterator[bytes], write: Callable[[memoryview], int | None]) -> Iterator[str]:
    """Write ``body``, and yield now and then how much that was."""
    count, told = 0, time.monotonic()
    for piece in body:
        view = memoryview(piece)
        while view:
            view = view[write(view) or 0 :]
        count += len(piece)
        filling.progress = f"{count / 1e6:.1f} MB received"
        if time.monotonic() - told > _TICK:
            told = time.monotonic()
            yield filling.progress


def _run(command: list[str], more: dict[str, str] | None = None) -> Iterator[str]:
    """Run git, and yield the lines of its progress, the last again while there is no other; raise RequestError."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT | (more or {}),
    ) as git:
        try:
            said: list[str] = []
            for line in _lines(git):
                said = [*said[-9:], line] if not said or said[-1] != line else said
                yield line
            status = git.wait()
        except BaseException:
            git.kill()
            raise
    if status:
        reasons = [line for line in said if line.startswith(("fatal:", "error:", "remote:"))] or said[-1:]
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, without_password(f"guest: git: {'; '.join(reasons)}"))


def _lines(git: subprocess.Popen[bytes]) -> Iterator[str]:
    assert git.stderr
    rest, last, heard = b"", "", time.monotonic()
    while True:
        if select.select([git.stderr], [], [], _TICK)[0]:
            data = os.read(git.stderr.fileno(), 65536)
            if not data:
                return
            heard = time.monotonic()
            *lines, rest = re.split(rb"[\r\n]", rest + data)
            for line in lines:
                last = line.decode(errors="replace").strip() or last
        elif time.monotonic() - heard > _STALL_SECONDS:
            message = f"guest: git has said nothing for {_STALL_SECONDS:.0f} s: {last}"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, message)
        if last:
            yield last
