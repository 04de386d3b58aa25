"""The host's folders put into a running guest, and taken away again, by the supervisor.

They are mounted in the supervisor's own mount namespace, at the guest's root, from where they are propagated: so the
guest can neither take nosuid and nodev off them, which the kernel locks on the way, nor keep one that is taken away.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from pathlib import Path

from . import kernel
from .places import SHARES
from .shares import Share, Shares
from .spec import GuestSpec

_PATIENCE = 5.0
_SAFE = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
_STRICT = kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS | kernel.RESOLVE_BENEATH
_DONE_FILE = "shares.json"


class ShareMounts:
    """Keeps in the guest's root at ``root`` what the guest's file of shares says, whenever it is another.

    ``host`` is a descriptor of the host's mount namespace.
    """

    def __init__(self, spec: GuestSpec, root: Path, host: int) -> None:
        self._spec = spec
        self._root = root
        self._host = host
        self._done = Path(spec.run_dir) / _DONE_FILE
        self._seen = ""
        self._mounted: dict[tuple[Share, int, int], list[int]] = {}

    def tend(self) -> None:
        """Look at the file; what cannot be mounted is said, in the log and to `wait`."""
        try:
            text = self._spec.shares_file.read_text()
        except FileNotFoundError:
            return
        if text == self._seen:
            return
        self._seen = text
        try:
            failed = self._keep(Shares.load(text))
        except (OSError, ValueError, TypeError, KeyError) as error:
            failed = [f"host: {self._spec.shares_file}: {error}"]
        for line in failed:
            print(f"guest {self._spec.name}: {line}", file=sys.stderr, flush=True)
        half = self._done.with_suffix(".new")
        half.write_text(json.dumps({"asked": text, "failed": failed}) + "\n")
        half.rename(self._done)

    def close(self) -> None:
        """The guest has ended, and its mounts end with it."""
        for descriptor in (one for several in self._mounted.values() for one in several):
            os.close(descriptor)
        self._mounted.clear()
        self._seen = ""
        self._done.unlink(missing_ok=True)

    def _keep(self, shares: Shares) -> list[str]:
        """Mount and unmount; returns what went wrong."""
        wanted = {(share, shares.uid, shares.gid): share for share in shares.folders}
        for gone in self._mounted.keys() - wanted.keys():
            _take_off(self._mounted.pop(gone))
        new = [key for key in wanted if key not in self._mounted]
        failed = []
        if new:
            with kernel.mapped_namespace(*(self._map(own) for own in (shares.uid, shares.gid))) as userns:
                for key in new:
                    try:
                        self._mounted[key] = self._mount(wanted[key], userns)
                    except OSError as error:
                        failed.append(f"host: {key[0].path} cannot be shared: {error}")
        return failed

    def _map(self, own: int) -> str:
        """The owner is the guest's root; the guest's other ids are themselves, reserved on the host."""
        base, count = self._spec.uid_base, self._spec.uid_count
        if base <= own < base + count:
            raise ValueError(f"their owner, {own}, is among the guest's own ids; choose another guest_uid_base")
        return f"{own} {base} 1\n{base + 1} {base + 1} {count - 1}\n"

    def _mount(self, share: Share, userns: int) -> list[int]:
        """Mount it at its path, and where the docker service finds it; returns descriptors of the mounts."""
        trees = self._clone(share, userns)
        try:
            for tree, place in zip(trees, (share.path, SHARES + share.path), strict=True):
                target = _descend(str(self._root), place, self._spec.uid_base)
                try:
                    kernel.attach(tree, Path(f"/proc/self/fd/{target}"))
                finally:
                    os.close(target)
        except OSError:
            _take_off(trees)
            raise
        return trees

    def _clone(self, share: Share, userns: int) -> list[int]:
        """It twice, as the host has it now: a disk may have been mounted there since the guest was started."""
        attributes = _SAFE | (kernel.MOUNT_ATTR_RDONLY if share.read_only else 0)
        with kernel.mount_namespace(self._host):
            source = _descend("/", share.path)
            try:
                return [kernel.clone_tree(Path(f"/proc/self/fd/{source}"), userns, attributes) for _ in range(2)]
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise OSError(error.errno, "its file system takes no id-mapped mounts") from error
                raise
            finally:
                os.close(source)


def _take_off(trees: list[int]) -> None:
    for tree in trees:
        with contextlib.suppress(OSError):
            kernel.unmount(Path(f"/proc/self/fd/{tree}"))
        os.close(tree)


def _descend(root: str, path: str, owner: int | None = None) -> int:
    """A descriptor of the folder ``path`` below ``root``, reached without links; made, for ``owner``, if given."""
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for name in path.strip("/").split("/"):
        if owner is not None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
                os.chown(name, owner, owner, dir_fd=folder, follow_symlinks=False)
        try:
            below = kernel.openat2(folder, name, os.O_PATH | os.O_DIRECTORY, _STRICT)
        finally:
            os.close(folder)
        folder = below
    return folder


def wait(spec: GuestSpec) -> None:
    """Wait until the running guest has the shares that its file names; raise ValueError where it cannot."""
    asked = spec.shares_file.read_text()
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            done = json.loads((Path(spec.run_dir) / _DONE_FILE).read_text())
        except FileNotFoundError:
            done = {"asked": ""}
        if done["asked"] == asked:
            if done["failed"]:
                raise ValueError("\n".join(done["failed"]))
            return
        time.sleep(0.02)
    raise TimeoutError(f"host: the supervisor of guest {spec.name} did not take over guest_shares in {_PATIENCE} s")
