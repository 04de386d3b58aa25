"""Build images: mmdebstrap from the host's own apt sources, then the definition's files, then its last program."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..linux.overlay_files import entries
from .definition import Definition
from .docker_archive import write_archive

_EXCLUDED_DOCS = ("doc", "man", "locale", "info", "lintian")
_DEADLINE = 1800
# All processes of a build end when the build is killed.
_ENDING_TOGETHER = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class BuildError(Exception):
    """An image could not be built and nothing of it was kept; the message ends with the builder's last lines."""


def build(definition: Definition, cache: Path) -> bool:
    """Build the image into ``cache`` unless it is there; return whether it was built."""
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o700)
    with lock_cache(cache):
        destination = definition.path(cache)
        if destination.exists():
            return False
        partial = cache / f"{definition.name}.half"
        _remove(partial)
        try:
            _bootstrap(definition, partial, log_path(cache, definition.name))
            _finish(definition, partial)
            if definition.config:
                archive = partial.with_suffix(".tar")
                write_archive(partial, definition.reference, definition.config, archive)
                archive.rename(destination)
            else:
                partial.rename(destination)
        finally:
            _remove(partial)
    return True


def log_path(cache: Path, name: str) -> Path:
    """Return the path of the build log of image ``name``. It is outside of ``cache``, which only root may enter."""
    return cache.parent / "log" / f"{name}.log"


@contextmanager
def lock_cache(cache: Path) -> Iterator[None]:
    """Hold the lock on ``cache``, so that nobody else changes it."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def apt_sources() -> str:
    """Return the machine's own Debian sources, one ``deb`` line each; raise BuildError if there are none."""
    line = "$(ORIGIN)\t$(CREATED_BY)\tdeb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    output = _run(["apt-get", "indextargets", "--format", line], 60)
    rows = [text.split("\t") for text in output.splitlines()]
    lines = [source for origin, kind, source in rows if origin == "Debian" and kind == "Packages"]
    if not lines:
        raise BuildError("host: apt knows no Debian sources; run apt-get update and look at /etc/apt/sources.list.d")
    return "\n".join(lines) + "\n"


def _bootstrap(definition: Definition, root: Path, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED_DOCS]
    command = [
        *_ENDING_TOGETHER,
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
    """Copy ``files`` over ``root``, owned by root; the root's symlinks to folders are followed."""
    for name, path, link in entries(files):
        target = root / name
        if link is None and path.is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        target.unlink(missing_ok=True)
        if link is not None:
            target.symlink_to(link)
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


def _remove(partial: Path) -> None:
    for path in (partial, partial.with_suffix(".tar")):
        if path.exists():
            subprocess.run(["rm", "-rf", "--one-file-system", str(path)], timeout=300, check=True)
