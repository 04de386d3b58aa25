"""Build images: mmdebstrap from the host's own apt sources, then the definition's files, then its last program."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from ..linux.overlay_files import entries
from .definition import Definition
from .docker_archive import write_archive
from .suites import TARGETS_FORMAT, Source, parse_sources, sources_of

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


def read_sources(suites: Iterable[str]) -> list[Source]:
    """Return the Debian sources of ``suites``, made from the machine's own; raise BuildError if there are none."""
    own = parse_sources(_run(["apt-get", "indextargets", "--format", TARGETS_FORMAT], 60))
    found = {suite: sources_of(suite, own) for suite in suites}
    for suite, sources in found.items():
        if not sources:
            raise BuildError(
                f"host: apt knows no Debian sources for {suite}; run apt-get update and look at /etc/apt/sources.list.d"
            )
    return list(chain.from_iterable(found.values()))


def _bootstrap(definition: Definition, root: Path, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED_DOCS]
    command = [
        *_ENDING_TOGETHER,
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--verbose"),
        *(
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--aptopt={option}" for option in definition.origin.apt_options),
            *excluded,
            f"--include={','.join(definition.packages)}",
        ),
        *(definition.origin.suite, str(root), "-"),
    ]
    sources = read_sources(definition.origin.suites)
    with log.open("w") as output:
        try:
            done = subprocess.run(
                command,
                input="\n".join(source.line for source in sources),
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
