"""Installing the package on the host, where its daemons find it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path


def package_files(package: Path) -> Iterator[Path]:
    """Return the package's files, without Python's caches."""
    return (p for p in sorted(package.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)


def digest(package: Path) -> str:
    """Return a digest of the content of a package folder; empty if there is none."""
    if not package.is_dir():
        return ""
    content = hashlib.sha256()
    for path in package_files(package):
        content.update(f"{path.relative_to(package)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return content.hexdigest()[:16]


def install(package: Path, folder: Path) -> bool:
    """Copy ``package`` into ``folder`` as a whole if the copy there differs; return whether it did."""
    target = folder / package.name
    if digest(package) == digest(target):
        return False
    fresh = folder / f".{package.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(package, fresh, ignore=shutil.ignore_patterns("__pycache__"))
    if target.exists():
        shutil.rmtree(target)
    fresh.rename(target)
    return True


def remove(folder: Path) -> bool:
    """Remove ``folder`` with its content; return whether it was there."""
    if not folder.exists():
        return False
    shutil.rmtree(folder)
    return True
