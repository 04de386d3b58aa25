"""The guest's root file system: the supervisor's mounts from outside, and those of the guest's first process."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from ....linux import syscalls
from ....linux.control_groups import Hierarchy
from ....linuxkit.paths import SHARES
from ... import host_services
from ...guest_spec import GuestSpec
from . import disk
from .share_mounts import ShareMounts
from .shown_files import ShownFiles

SHOWN = "etc/portchain/shown"
# In a user namespace the kernel allows mounting proc only if one without mounts on it is visible; /proc has one.
WHOLE_PROC = "dev/.proc"
# A setuid program gives ids of the guest only, but a device node would be a device of the host's.
_READ_ONLY = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV
_NODES = {
    **{"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)},
    **{"fuse": (10, 229), "net/tun": (10, 200)},
}
_DEV_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "fd/0",
    "stdout": "fd/1",
    "stderr": "fd/2",
}


class OuterRoot:
    """The mounts that only the host's root can make, below ``base`` in the supervisor's private mount namespace.

    ``host`` is a descriptor of the host's mount namespace; ``shown`` returns the texts of the guest's `SHOWN` files.
    """

    def __init__(self, spec: GuestSpec, base: Path, host: int, shown: Callable[[], Mapping[str, str]]) -> None:
        self._spec = spec
        self._base = base
        self.path = base / "root"
        self.data = base / "data"
        self.shares = ShareMounts(spec, self.path, base / "nothing", host)
        self.shown = ShownFiles(base / "shown", shown)

    def mount(self, userns: int) -> None:
        """Mount everything, with owners mapped by ``userns``, a descriptor of the guest's user namespace."""
        self._tmpfs(self._base, "755", inside=False)
        for name in ("lower", "upper", "work", "root", "data", "nothing"):
            (self._base / name).mkdir()
        self.shown.make()
        syscalls.clone_mount(Path(self._spec.root), self._base / "lower", userns, _READ_ONLY)
        for name in ("upper", "work"):
            os.chown(self._base / name, self._spec.uid_base, self._spec.uid_base)
        options = ",".join(f"{key}dir={self._base / key}" for key in ("lower", "upper", "work"))
        syscalls.mount("overlay", self.path, "overlay", syscalls.MS_NODEV, options)
        self._mount_dev()
        self._mount_folders(userns)
        self._write_options()
        disk.mount(Path(self._spec.disk), self.data)
        syscalls.clone_mount(self.data, self._folder("var/lib/docker"), userns)
        syscalls.mount("none", self.path, "", syscalls.MS_REC | syscalls.MS_SHARED)

    def unmount(self) -> None:
        """Unmount everything; the loop device of the data disk goes with its mount."""
        self.shares.close()
        syscalls.unmount(self._base)

    def _folder(self, name: str) -> Path:
        """Return a folder of the guest's root; make it, owned by the guest's root user, if it is missing."""
        folder = self.path / name
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            missing.mkdir()
            os.chown(missing, self._spec.uid_base, self._spec.uid_base)
        return folder

    def _tmpfs(self, target: Path, mode: str, *, inside: bool = True, devices: bool = False) -> None:
        owner = self._spec.uid_base if inside else 0
        flags = 0 if devices else syscalls.MS_NODEV
        syscalls.mount("tmpfs", target, "tmpfs", flags, f"mode={mode},uid={owner},gid={owner},size=50%")

    def _mount_dev(self) -> None:
        dev = self._folder("dev")
        self._tmpfs(dev, "755", devices=True)
        for name in ("pts", "shm", "mqueue", "net", Path(WHOLE_PROC).name):
            self._folder(f"dev/{name}")
        for name, (major, minor) in _NODES.items():
            node = dev / name
            os.mknod(node, stat.S_IFCHR, os.makedev(major, minor))
            node.chmod(0o666)
            os.chown(node, self._spec.uid_base, self._spec.uid_base)
        for name, target in _DEV_LINKS.items():
            (dev / name).symlink_to(target)

    def _mount_folders(self, userns: int) -> None:
        for name, mode in (("run", "755"), ("tmp", "1777"), ("var/lib/containerd", "700")):
            self._tmpfs(self._folder(name), mode)
        self._folder(SHARES.lstrip("/"))
        sockets = Path(self._spec.run_dir) / host_services.FOLDER
        syscalls.clone_mount(sockets, self._folder("run/host-services"), None, _READ_ONLY)
        self._spec.policy_folder.mkdir(exist_ok=True)
        read_only = {
            self._spec.source: "usr/lib/portchain",
            self._spec.bundles: "containers",
            str(self._spec.policy_folder): "etc/portchain/policy",
            str(self.shown.folder): SHOWN,
        }
        for source, target in read_only.items():
            syscalls.clone_mount(Path(source), self._folder(target), userns, _READ_ONLY)
        for name, image in self._spec.images.items():
            folder = self.path / "containers" / "images" / name
            syscalls.clone_mount(Path(image), folder, userns, _READ_ONLY)

    def _write_options(self) -> None:
        spec = self._spec
        options = {"name": spec.name, "address": spec.address, "gateway": spec.gateway, "subnet": spec.subnet}
        self._folder("etc/portchain")
        for name, text in {
            "etc/portchain/guest.json": json.dumps(options, indent=2) + "\n",
            "etc/hostname": f"{spec.hostname}\n",
        }.items():
            (self.path / name).write_text(text)
            os.chown(self.path / name, spec.uid_base, spec.uid_base)
        resolv_conf = self.path / "etc/resolv.conf"
        resolv_conf.unlink(missing_ok=True)
        resolv_conf.symlink_to(f"/{SHOWN}/resolv.conf")
        os.chown(resolv_conf, spec.uid_base, spec.uid_base, follow_symlinks=False)


def enter(root: Path, hostname: str, hierarchies: list[Hierarchy]) -> None:
    """Mount what the guest's root user may mount itself, in the new namespaces, and make ``root`` the root."""
    restricted = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("none", Path("/"), "", syscalls.MS_REC | syscalls.MS_SLAVE)
    syscalls.mount(str(root), root, "", syscalls.MS_BIND | syscalls.MS_REC)
    for folder in ("proc", WHOLE_PROC):
        syscalls.mount("proc", root / folder, "proc", restricted)
    syscalls.mount(str(root / SHOWN / "meminfo"), root / "proc/meminfo", "", syscalls.MS_BIND)
    syscalls.mount("sysfs", root / "sys", "sysfs", restricted)
    syscalls.mount(
        "devpts", root / "dev/pts", "devpts", syscalls.MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620,gid=5"
    )
    syscalls.mount("mqueue", root / "dev/mqueue", "mqueue", restricted)
    syscalls.mount("tmpfs", root / "dev/shm", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777")
    _mount_cgroups(root / "sys/fs/cgroup", hierarchies, restricted)
    syscalls.set_hostname(hostname)
    syscalls.pivot_root(root)
    syscalls.mount("none", Path("/"), "", syscalls.MS_REC | syscalls.MS_SHARED)


def _mount_cgroups(target: Path, hierarchies: list[Hierarchy], flags: int) -> None:
    if all(group.unified for group in hierarchies):
        syscalls.mount("cgroup2", target, "cgroup2", flags)
        return
    syscalls.mount("tmpfs", target, "tmpfs", flags, "mode=755")
    for group in hierarchies:
        folder = target / group.mountpoint.name
        folder.mkdir()
        fstype = "cgroup2" if group.unified else "cgroup"
        syscalls.mount(fstype, folder, fstype, flags, group.options)
