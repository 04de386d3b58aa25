"""The package on the host, where its daemons find it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path


def files(package: Path) -> Iterator[Path]:
    """The package's files, without what Python makes of them."""
    return (p for p in sorted(package.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)


def digest(package: Path) -> str:
    """Stands for the content of a package folder; empty if there is none."""
    if not package.is_dir():
        return ""
    found = hashlib.sha256()
    for path in files(package):
        found.update(f"{path.relative_to(package)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def install(package: Path, place: Path) -> bool:
    """Have a copy of ``package`` in ``place``, put there as a whole; returns whether it differed."""
    target = place / package.name
    if digest(package) == digest(target):
        return False
    fresh = place / f".{package.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(package, fresh, ignore=shutil.ignore_patterns("__pycache__"))
    if target.exists():
        shutil.rmtree(target)
    fresh.rename(target)
    return True


def remove(place: Path) -> bool:
    """Have nothing in ``place``; returns whether there was anything."""
    if not place.exists():
        return False
    shutil.rmtree(place)
    return True
