"""Fill an environment's folder: by git clone, or from a git bundle or tar archive that the client sends.

Each way yields lines about its progress, and raises RequestError. All files belong to root.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

from ....http.server import RequestError
from .environments import Filling, without_password

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
    """Raise RequestError for a URL that git in the guest may not clone."""
    scheme = _URL.match(url)
    if not scheme or scheme[1].lower() not in SCHEMES:
        message = (
            f"guest: {without_password(url)!r} is not cloned in the guest, only {', '.join(SCHEMES)} URLs are; for "
            "others use portchain devenv create on the host, which has your keys and folders"
        )
        raise RequestError(HTTPStatus.BAD_REQUEST, message)


def from_git(filling: Filling, url: str, branch: str) -> Iterator[str]:
    """Clone ``url`` and check out the branch or tag ``branch``, or the repository's default if it is empty."""
    yield from _clone(filling, url, branch, ":".join(SCHEMES))


def from_bundle(filling: Filling, body: Iterator[bytes], branch: str) -> Iterator[str]:
    """Clone the git bundle in ``body``; the clone's ``origin`` is the filling's source."""
    bundle = filling.scratch
    with bundle.open("wb") as file:
        yield from _write_body(filling, body, file.write)
    yield from _clone(filling, str(bundle), branch, "file")
    bundle.unlink()
    yield from _run(["git", "-C", str(filling.folder), "remote", "set-url", "origin", filling.source])


def from_tar(filling: Filling, body: Iterator[bytes]) -> Iterator[str]:
    """Unpack the tar archive in ``body``. Set-user-id is dropped, for everything belongs to root here."""
    options = ("--no-same-owner", "--no-same-permissions", "--no-overwrite-dir", "--delay-directory-restore")
    command = ["tar", "--extract", "--file=-", f"--directory={filling.folder}", *options]
    with filling.scratch.open("w+b") as log:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=_ENVIRONMENT, umask=0, bufsize=0) as tar:
            assert tar.stdin
            try:
                yield from _write_body(filling, body, tar.stdin.write)
            except BrokenPipeError:
                pass  # tar's error output says why it ended
            except BaseException:
                tar.kill()
                raise
        if tar.returncode:
            log.seek(0)
            reason = log.read(4096).decode(errors="replace").strip()
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"guest: {reason or 'tar was killed'}")


def _clone(filling: Filling, source: str, branch: str, protocols: str) -> Iterator[str]:
    options = ["--branch", branch] if branch else []
    command = ["git", "clone", "--progress", *options, "--", source, str(filling.folder)]
    for line in _run(command, {"GIT_ALLOW_PROTOCOL": protocols}):
        filling.progress = without_password(line)
        yield filling.progress


def _write_body(filling: Filling, body: Iterator[bytes], write: Callable[[memoryview], int | None]) -> Iterator[str]:
    """Write ``body``; yield about once a second how much has been received."""
    count, reported = 0, time.monotonic()
    for block in body:
        view = memoryview(block)
        while view:
            view = view[write(view) or 0 :]
        count += len(block)
        filling.progress = f"{count / 1e6:.1f} MB received"
        if time.monotonic() - reported > _TICK:
            reported = time.monotonic()
            yield filling.progress


def _run(command: list[str], environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run git and yield its lines of progress, the last one again while there is no other; raise RequestError."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT | (environment or {}),
    ) as git:
        try:
            tail: list[str] = []
            for line in _lines(git):
                tail = [*tail[-9:], line] if not tail or tail[-1] != line else tail
                yield line
            status = git.wait()
        except BaseException:
            git.kill()
            raise
    if status:
        reasons = [line for line in tail if line.startswith(("fatal:", "error:", "remote:"))] or tail[-1:]
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, without_password(f"guest: git: {'; '.join(reasons)}"))


def _lines(git: subprocess.Popen[bytes]) -> Iterator[str]:
    assert git.stderr
    rest, last, last_output = b"", "", time.monotonic()
    while True:
        if select.select([git.stderr], [], [], _TICK)[0]:
            data = os.read(git.stderr.fileno(), 65536)
            if not data:
                return
            last_output = time.monotonic()
            *lines, rest = re.split(rb"[\r\n]", rest + data)
            for line in lines:
                last = line.decode(errors="replace").strip() or last
        elif time.monotonic() - last_output > _STALL_SECONDS:
            message = f"guest: git has printed nothing for {_STALL_SECONDS:.0f} s: {last}"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, message)
        if last:
            yield last
