"""The state of a running guest's shares, which its supervisor keeps in a file, and comparing it with the host."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..linux import atomic_files, syscalls
from .guest_spec import SHARES_FILE, GuestSpec

_DEADLINE = 5.0
_STRICT = syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_BENEATH
_REASONS = {
    errno.EINVAL: "its file system takes no id-mapped mounts",
    errno.ELOOP: "a link is in its path now; share the folder that it leads to",
    errno.ENOENT: "there is no such folder",
    errno.ENOTDIR: "it is not a folder",
}


@dataclass(frozen=True)
class ShareState:
    """The state of the shares.

    ``asked`` is the text of the file of shares that was applied. ``mounted`` has the identity of each mounted folder,
    ``failed`` the error of each that could not be mounted, both by path.
    """

    asked: str = ""
    mounted: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, run_dir: Path) -> ShareState:
        """Read the supervisor's last state; an empty one if there is none or it is of another version."""
        try:
            state = cls(**json.loads((run_dir / SHARES_FILE).read_text()))
        except (FileNotFoundError, TypeError):
            return cls()
        return state if isinstance(state.failed, dict) else cls()

    def save(self, run_dir: Path) -> None:
        """Write the state to the guest's run directory."""
        atomic_files.replace(run_dir / SHARES_FILE, json.dumps(asdict(self)) + "\n")


def descend(root: str, path: str, owner: int | None = None) -> int:
    """Open the folder ``path`` below ``root`` without following links, and return its descriptor.

    Missing folders are made for the user and group ``owner``, if given. Raise OSError.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for name in path.strip("/").split("/"):
        try:
            below = _step(folder, name, owner)
        finally:
            os.close(folder)
        folder = below
    return folder


def _step(folder: int, name: str, owner: int | None) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return syscalls.openat2(folder, name, flags, _STRICT)
    except FileNotFoundError:
        if owner is None:
            raise
    os.mkdir(name, dir_fd=folder)
    os.chown(name, owner, owner, dir_fd=folder, follow_symlinks=False)
    return syscalls.openat2(folder, name, flags, _STRICT)


def identify(path: str) -> str:
    """Return a text that identifies the folder at ``path``, its mount and the mount's flags. Raise OSError.

    No other folder has the same text while a mount of this one exists.
    """
    folder = descend("/", path)
    try:
        status, flags = os.fstat(folder), os.fstatvfs(folder).f_flag
        details = Path(f"/proc/self/fdinfo/{folder}").read_text().split()
    finally:
        os.close(folder)
    return f"{status.st_dev}:{status.st_ino} mount {details[details.index('mnt_id:') + 1]} flags {flags:#x}"


def explain(path: str, error: OSError) -> str:
    """Return a message that says why ``path`` cannot be shared."""
    return f"host: {path}, of guest_shares, cannot be shared: {_REASONS.get(error.errno or 0, error)}"


def find_problems(spec: GuestSpec) -> list[str]:
    """Return a message for each share that the running guest lacks, or has otherwise than the host has it now."""
    asked = spec.shares_file.read_text()
    state = ShareState.load(Path(spec.run_dir))
    if state.asked != asked:
        return [f"host: the supervisor of guest {spec.name} has not applied guest_shares yet"]
    changes = (_describe_change(path, identity) for path, identity in state.mounted.items())
    return [*state.failed.values(), *filter(None, changes)]


def _describe_change(path: str, identity: str) -> str:
    """Return a message if the folder at ``path`` is not the shared one with ``identity`` any more; empty if it is."""
    try:
        return "" if identify(path) == identity else f"host: {path}, of guest_shares, is another folder than is shared"
    except OSError as error:
        return explain(path, error)


def wait(spec: GuestSpec) -> bool:
    """Wait until the running guest has the shares in its file; return whether it had to wait.

    Raise ValueError if it does not get them in time.
    """
    deadline = time.monotonic() + _DEADLINE
    waited = False
    while problems := find_problems(spec):
        waited = True
        if time.monotonic() > deadline:
            raise ValueError("\n".join(problems))
        time.sleep(0.05)
    return waited
