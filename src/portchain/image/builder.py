"""Building images: mmdebstrap from the host's own apt sources, then the definition's files, then its last program."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..docker_archive import write_archive
from .definition import Definition

_TRIMMED = ("doc", "man", "locale", "info", "lintian")
_DEADLINE = 1800
# All that a build starts ends when the build is killed.
_TOGETHER = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class BuildError(Exception):
    """An image could not be built; nothing of it was kept. The message ends with what the builder said last."""


def build(definition: Definition, cache: Path) -> bool:
    """Build the image into ``cache`` unless it is there; returns whether it was built."""
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o700)
    with alone(cache):
        destination = definition.path(cache)
        if destination.exists():
            return False
        half = cache / f"{definition.name}.half"
        _remove(half)
        try:
            _bootstrap(definition, half, log_path(cache, definition.name))
            _finish(definition, half)
            if definition.config:
                archive = half.with_suffix(".tar")
                write_archive(half, definition.reference, definition.config, archive)
                archive.rename(destination)
            else:
                half.rename(destination)
        finally:
            _remove(half)
    return True


def log_path(cache: Path, name: str) -> Path:
    """Where the build of image ``name`` writes what it does: beside ``cache``, which only root may enter."""
    return cache.parent / "log" / f"{name}.log"


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Nobody else changes ``cache`` meanwhile."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def apt_sources() -> str:
    """The machine's own Debian sources, one ``deb`` line each; raise BuildError where there are none."""
    line = "$(ORIGIN)\t$(CREATED_BY)\tdeb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = _run(["apt-get", "indextargets", "--format", line], 60)
    found = [text.split("\t") for text in listed.splitlines()]
    lines = [source for origin, kind, source in found if origin == "Debian" and kind == "Packages"]
    if not lines:
        raise BuildError("host: apt knows no Debian sources; run apt-get update and look at /etc/apt/sources.list.d")
    return "\n".join(lines) + "\n"


def _bootstrap(definition: Definition, root: Path, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _TRIMMED]
    command = [
        *_TOGETHER,
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--verbose"),
        *(
            '--aptopt=APT::Install-Recommends "false"',
            *excluded,
            f"--include={','.join(definition.packages)}",
        ),
        *(definition.suite, str(root), "-"),
    ]
    sources = apt_sources()
    with log.open("w") as output:
        try:
            done = subprocess.run(
                command,
                input=sources,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_DEADLINE,
                check=False,
            )
        except FileNotFoundError:
            raise BuildError("host: no setpriv or unshare; install the package util-linux") from None
        except subprocess.TimeoutExpired:
            raise BuildError(f"image {definition.name}: not built after {_DEADLINE} s; see {log}") from None
    if done.returncode:
        raise BuildError(f"image {definition.name}: mmdebstrap failed; see {log}; last lines:\n{_last_lines(log)}")


def _finish(definition: Definition, root: Path) -> None:
    if definition.files.exists():
        _overlay(definition.files, root)
    if definition.customize.exists():
        _run([str(definition.customize), str(root)], 300)


def _overlay(files: Path, root: Path) -> None:
    """Put ``files`` over ``root``, as root's own; the root's symlinks to folders are followed."""
    for path in sorted(p for p in files.rglob("*") if "__pycache__" not in p.parts):
        target = root / path.relative_to(files)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        target.unlink(missing_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _run(command: list[str], deadline: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline, check=False)
    if done.returncode:
        raise BuildError(f"host: {' '.join(command)}: {done.stderr.strip()[-2000:] or done.returncode}")
    return done.stdout


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


def _remove(half: Path) -> None:
    for path in (half, half.with_suffix(".tar")):
        if path.exists():
            subprocess.run(["rm", "-rf", "--one-file-system", str(path)], timeout=300, check=True)
