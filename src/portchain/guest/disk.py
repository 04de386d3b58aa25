"""The data disk: an ext4 image that holds /var/lib/docker, stamped with the variant it was written under."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

VARIANT = "portchain-userns"
_SUPERBLOCK_LABEL = 1024 + 120
_SUPERBLOCK_MAGIC = 1024 + 56


class DiskError(Exception):
    """The disk cannot be used; the message says why and what to do."""


def create(disk: Path, size: int) -> None:
    """Make the sparse image ``disk`` of ``size`` bytes; a failed or interrupted one leaves nothing behind."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    half = disk.with_suffix(".new")
    half.unlink(missing_ok=True)
    with half.open("wb") as image:
        image.truncate(size)
    half.chmod(0o600)
    _run("mkfs.ext4", "-q", "-L", VARIANT, "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(half))
    half.rename(disk)


def grow(disk: Path, size: int) -> bool:
    """Grow the image to ``size`` bytes if it is smaller, and say whether it was. It is never shrunk."""
    if disk.stat().st_size >= size:
        return False
    os.truncate(disk, size)
    _run("e2fsck", "-p", "-f", str(disk))
    _run("resize2fs", str(disk))
    return True


def check_variant(disk: Path) -> None:
    """Raise DiskError unless the image carries the stamp of this variant."""
    with disk.open("rb") as image:
        head = image.read(2048)
    if head[_SUPERBLOCK_MAGIC : _SUPERBLOCK_MAGIC + 2] != b"\x53\xef":
        raise DiskError(f"host: data disk {disk} is no ext4 image; move it away and a new one is made")
    label = head[_SUPERBLOCK_LABEL : _SUPERBLOCK_LABEL + 16].rstrip(b"\0").decode("ascii", "replace")
    if label != VARIANT:
        raise DiskError(
            f"host: data disk {disk} was written under the variant {label!r}, this guest needs {VARIANT!r}; "
            "overlay2 layers written under one are not safe under the other: move the disk away to start afresh"
        )


def mount(disk: Path, target: Path) -> None:
    """Mount the image on ``target`` through a loop device that frees itself.

    Not nodev: the guest could not clear that, as BuildKit must be able to, and nobody can make a device node in it.
    """
    _run("mount", "-o", "loop,discard", str(disk), str(target))


def trim(target: Path) -> str:
    """Give unused blocks of the file system at ``target`` back to the host; returns what fstrim says."""
    return _run("fstrim", "-v", str(target)).strip()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise DiskError(f"host: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
