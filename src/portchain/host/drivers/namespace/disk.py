"""The data disk: an ext4 image for /var/lib/docker, labelled with the variant of guests that may use it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

VARIANT = "portchain-userns"
_SECONDS = 120
_SUPERBLOCK_LABEL = 1024 + 120
_SUPERBLOCK_MAGIC = 1024 + 56


@dataclass(frozen=True)
class TrimResult:
    """The bytes that the host got back, and those that the image still occupies."""

    freed: int
    held: int


class DiskError(Exception):
    """The disk cannot be used; the message says why."""


def create(disk: Path, size: int) -> None:
    """Make the sparse image ``disk`` of ``size`` bytes, whole or not at all; raise DiskError."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    unfinished = disk.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as image:
        image.truncate(size)
    unfinished.chmod(0o600)
    _run("mkfs.ext4", "-q", "-L", VARIANT, "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(unfinished))
    unfinished.rename(disk)


def grow(disk: Path, size: int) -> bool:
    """Grow the image to ``size`` bytes if it is smaller; return whether it was. It is never shrunk."""
    if disk.stat().st_size >= size:
        return False
    os.truncate(disk, size)
    _run("e2fsck", "-p", "-f", str(disk))
    _run("resize2fs", str(disk))
    return True


def check_variant(disk: Path) -> None:
    """Raise DiskError unless the image has the label of this variant."""
    with disk.open("rb") as image:
        head = image.read(2048)
    if head[_SUPERBLOCK_MAGIC : _SUPERBLOCK_MAGIC + 2] != b"\x53\xef":
        raise DiskError(f"host: data disk {disk} is no ext4 image; move it away, and the next start makes a new one")
    label = head[_SUPERBLOCK_LABEL : _SUPERBLOCK_LABEL + 16].rstrip(b"\0").decode("ascii", "replace")
    if label != VARIANT:
        raise DiskError(
            f"host: data disk {disk} was written under the variant {label!r}, this guest needs {VARIANT!r}; "
            "overlay2 layers written under one are not safe under the other: move the disk away to start afresh"
        )


def mount(disk: Path, target: Path) -> None:
    """Mount the image on ``target`` through a loop device that goes with the mount.

    It is not mounted nodev: BuildKit in the guest must be able to clear that flag and could not. It has no device node:
    `create` makes it empty, and nobody in a user namespace can make one.
    """
    _run("mount", "-o", "loop,discard", str(disk), str(target))


def trim(disk: Path, target: Path) -> TrimResult:
    """Give unused blocks of the image, which is mounted on ``target``, back to the host."""
    before = _occupied(disk)
    _run("sync", "--file-system", str(target))  # blocks of deleted files are free once the journal is written
    _run("fstrim", str(target))
    after = _occupied(disk)
    return TrimResult(max(0, before - after), after)


def _occupied(disk: Path) -> int:
    """Return the bytes that the sparse image occupies."""
    return disk.stat().st_blocks * 512


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DiskError(f"host: {' '.join(command)}: not done within {_SECONDS} s") from None
    if done.returncode:
        raise DiskError(f"host: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
