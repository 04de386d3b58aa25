"""Mounting the host's shared folders in a running guest, by the supervisor.

They are mounted at the guest's root in the supervisor's own mount namespace and propagate from there. So the guest can
neither clear nosuid and nodev, which the kernel locks on the way, nor keep a share that is unmounted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ....linux import syscalls
from ....linux.nested_paths import within
from ....linuxkit.paths import SHARES
from ...guest_spec import SHARES_FILE, GuestSpec
from ...share_state import ShareState, descend, explain, identify
from ...shares import Share, Shares

_INTERVAL = 0.5  # seconds
_SAFE = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV


@dataclass
class _MountedShare:
    """A share in the guest: the identity of its folder on the host, or the error why it is an empty folder."""

    share: Share
    owner: tuple[int, int]
    identity: str = ""
    error: str = ""
    trees: list[int] = field(default_factory=list)

    def is_same(self, other: _MountedShare) -> bool:
        """Return whether it is mounted as ``other`` is to be."""
        return not self.error and (self.share, self.owner, self.identity) == (other.share, other.owner, other.identity)


class ShareMounts:
    """Mounts the shares in the guest's file of them below ``root``, and follows changes of the file and of the host.

    ``host`` is a descriptor of the host's mount namespace. ``nothing`` is an empty folder; it is mounted read-only in
    place of a share that cannot be mounted, so that nothing is written there and lost with the guest.
    """

    def __init__(self, spec: GuestSpec, root: Path, nothing: Path, host: int) -> None:
        self._spec = spec
        self._root = root
        self._nothing = nothing
        self._host = host
        self._mounted: dict[str, _MountedShare] = {}
        self._state = ShareState()
        self._next = 0.0

    def reconcile(self) -> None:
        """Compare the file, the host and the mounts, at most twice a second, and correct the mounts.

        A share that cannot be mounted is reported and tried again.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _INTERVAL
        try:
            text = self._spec.shares_file.read_text()
        except FileNotFoundError:
            return
        try:
            self._apply(Shares.load(text))
            failed = {path: mounted.error for path, mounted in self._mounted.items() if mounted.error}
        except (OSError, ValueError, TypeError, KeyError) as error:
            failed = {SHARES_FILE: f"host: {self._spec.shares_file}: {error}"}
        self._report(text, failed)

    def close(self) -> None:
        """Release the mounts' descriptors after the guest has ended; its mounts have gone with it."""
        for mounted in self._mounted.values():
            for tree in mounted.trees:
                os.close(tree)
        self._mounted.clear()
        self._state, self._next = ShareState(), 0.0
        (Path(self._spec.run_dir) / SHARES_FILE).unlink(missing_ok=True)

    def _report(self, text: str, failed: dict[str, str]) -> None:
        """Write the state of the shares for others, and log what changed."""
        mounted = {path: share.identity for path, share in self._mounted.items() if not share.error}
        state, before = ShareState(text, mounted, failed), self._state
        if state == before:
            return
        self._state = state
        lines = [reason for path, reason in failed.items() if before.failed.get(path) != reason]
        lines += [f"{path} is shared now" for path in before.failed if path in mounted]
        for line in lines:
            print(f"guest {self._spec.name}: {line}", file=sys.stderr, flush=True)
        state.save(Path(self._spec.run_dir))

    def _apply(self, shares: Shares) -> None:
        """Mount and unmount; a share inside one that is mounted or unmounted is mounted again."""
        wanted = {share.path: share for share in shares.folders}
        changed = []
        for path in sorted(self._mounted.keys() - wanted.keys(), reverse=True):
            _unmount(self._mounted.pop(path).trees)
            changed.append(path)
        for path, new in self._identify(shares).items():
            before = self._mounted.get(path)
            stays = before and not any(within(path, outer) for outer in changed)
            if before and stays and before.is_same(new):
                continue
            trees = self._clone(new)
            if before and stays and before.error and new.error:
                before.error = new.error
                continue
            if before:
                _unmount(before.trees)
            self._attach(new, trees)
            self._mounted[path] = new
            changed.append(path)

    def _identify(self, shares: Shares) -> dict[str, _MountedShare]:
        """Return each share, outer before inner, with the identity of its folder on the host now."""
        identified = {}
        with syscalls.mount_namespace(self._host):
            for share in shares.folders:
                identified[share.path] = mounted = _MountedShare(share, (shares.uid, shares.gid))
                try:
                    mounted.identity = identify(share.path)
                except OSError as error:
                    mounted.error = explain(share.path, error)
        return identified

    def _clone(self, new: _MountedShare) -> list[int]:
        """Return mount trees of a share, for its path and the docker service; on failure none, and set the error."""
        if new.error:
            return []
        attributes = _SAFE | (syscalls.MOUNT_ATTR_RDONLY if new.share.read_only else 0)
        try:
            with (
                syscalls.mapped_namespace(*(self._id_map(host_id, new.share.user) for host_id in new.owner)) as userns,
                syscalls.mount_namespace(self._host),
            ):
                source = descend("/", new.share.path)
                try:
                    return [syscalls.clone_tree(Path(f"/proc/self/fd/{source}"), userns, attributes) for _ in range(2)]
                finally:
                    os.close(source)
        except OSError as error:
            new.error = explain(new.share.path, error)
            return []

    def _id_map(self, owner: int, user: int) -> str:
        """Return an id map from the host's ``owner`` to the guest's ``user``, with the guest's other ids unchanged.

        Raise ValueError if the owner is one of the guest's ids.
        """
        base, count = self._spec.uid_base, len(self._spec.uids)
        if base <= owner < base + count:
            raise ValueError(f"the shares' owner, id {owner}, is one of the guest's ids; choose another guest_uid_base")
        unchanged = ((base, user), (base + user + 1, count - user - 1))
        rows = ((owner, base + user, 1), *((first, first, length) for first, length in unchanged))
        return "".join(f"{on_disk} {mapped} {length}\n" for on_disk, mapped, length in rows if length)

    def _attach(self, new: _MountedShare, trees: list[int]) -> None:
        """Mount the trees, or the empty folder if there are none or they cannot be mounted."""
        if trees and not self._mount(new, trees):
            _unmount(trees)
            trees = []
        if not trees:
            attributes = _SAFE | syscalls.MOUNT_ATTR_RDONLY
            trees = [syscalls.clone_tree(self._nothing, None, attributes) for _ in range(2)]
            self._mount(new, trees)
        new.trees = trees

    def _mount(self, new: _MountedShare, trees: list[int]) -> bool:
        """Mount the trees at their two paths; return whether that worked, with the reason in ``new`` if not."""
        path = new.share.path
        try:
            for tree, guest_path in zip(trees, (path, SHARES + path), strict=True):
                target = descend(str(self._root), guest_path, self._spec.uid_base)
                try:
                    syscalls.attach(tree, Path(f"/proc/self/fd/{target}"))
                finally:
                    os.close(target)
        except OSError as error:
            new.error = new.error or explain(path, error)
            return False
        return True


def _unmount(trees: list[int]) -> None:
    for tree in trees:
        with contextlib.suppress(OSError):
            syscalls.unmount(Path(f"/proc/self/fd/{tree}"))
        os.close(tree)
