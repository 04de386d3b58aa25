"""The guest's root: what the supervisor mounts from outside, and what the guest's first process mounts inside."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from . import disk, kernel
from .cgroups import Hierarchy
from .places import SHARES
from .share_mounts import ShareMounts
from .spec import GuestSpec

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
    """The mounts that only the host's root can make, in the supervisor's private mount namespace, below ``base``.

    ``host`` is a descriptor of the host's mount namespace.
    """

    def __init__(self, spec: GuestSpec, base: Path, host: int) -> None:
        self._spec = spec
        self._base = base
        self.path = base / "root"
        self.data = base / "data"
        self.shares = ShareMounts(spec, self.path, host)

    def mount(self, userns: int) -> None:
        """Mount everything, files owned as ``userns`` (a descriptor of the guest's user namespace) maps them."""
        self._tmpfs(self._base, "755", inside=False)
        for name in ("lower", "upper", "work", "root", "data"):
            (self._base / name).mkdir()
        kernel.clone_mount(Path(self._spec.root), self._base / "lower", userns, kernel.MOUNT_ATTR_RDONLY)
        for name in ("upper", "work"):
            os.chown(self._base / name, self._spec.uid_base, self._spec.uid_base)
        options = ",".join(f"{key}dir={self._base / key}" for key in ("lower", "upper", "work"))
        kernel.mount("overlay", self.path, "overlay", 0, options)
        self._mount_dev()
        self._mount_folders(userns)
        self._write_options()
        disk.mount(Path(self._spec.disk), self.data)
        kernel.clone_mount(self.data, self._folder("var/lib/docker"), userns)
        kernel.mount("none", self.path, "", kernel.MS_REC | kernel.MS_SHARED)

    def unmount(self) -> None:
        """Take the mounts away again; the loop device of the data disk goes with them."""
        self.shares.close()
        kernel.unmount(self._base)

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            missing.mkdir()
            os.chown(missing, self._spec.uid_base, self._spec.uid_base)
        return folder

    def _tmpfs(self, target: Path, mode: str, *, inside: bool = True) -> None:
        owner = self._spec.uid_base if inside else 0
        kernel.mount("tmpfs", target, "tmpfs", 0, f"mode={mode},uid={owner},gid={owner},size=50%")

    def _mount_dev(self) -> None:
        dev = self._folder("dev")
        self._tmpfs(dev, "755")
        for name in ("pts", "shm", "mqueue", "net"):
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
        host_services = Path(self._spec.run_dir) / "host-services"
        kernel.clone_mount(host_services, self._folder("run/host-services"))
        self._spec.policy_folder.mkdir(exist_ok=True)
        read_only = {
            self._spec.source: "usr/lib/portchain",
            self._spec.bundles: "containers",
            str(self._spec.policy_folder): "etc/portchain/policy",
        }
        for source, target in read_only.items():
            kernel.clone_mount(Path(source), self._folder(target), userns, kernel.MOUNT_ATTR_RDONLY)
        for name, image in self._spec.images.items():
            folder = self.path / "containers" / "images" / name
            kernel.clone_mount(Path(image), folder, userns, kernel.MOUNT_ATTR_RDONLY)

    def _write_options(self) -> None:
        spec = self._spec
        options = {"name": spec.name, "address": spec.address, "gateway": spec.gateway, "subnet": spec.subnet}
        self._folder("etc/portchain")
        for name, text in {
            "etc/portchain/guest.json": json.dumps(options, indent=2) + "\n",
            "etc/resolv.conf": f"nameserver {spec.address}\n",
            "etc/hostname": f"{spec.hostname}\n",
        }.items():
            (self.path / name).write_text(text)
            os.chown(self.path / name, spec.uid_base, spec.uid_base)


def enter(root: Path, hostname: str, groups: list[Hierarchy]) -> None:
    """Inside all new namespaces: mount what the guest's root may mount itself, and make ``root`` the root."""
    quiet = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("none", Path("/"), "", kernel.MS_REC | kernel.MS_SLAVE)
    kernel.mount(str(root), root, "", kernel.MS_BIND | kernel.MS_REC)
    kernel.mount("proc", root / "proc", "proc", quiet)
    kernel.mount("sysfs", root / "sys", "sysfs", quiet)
    kernel.mount("devpts", root / "dev/pts", "devpts", kernel.MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    kernel.mount("mqueue", root / "dev/mqueue", "mqueue", quiet)
    kernel.mount("tmpfs", root / "dev/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    _mount_cgroups(root / "sys/fs/cgroup", groups, quiet)
    kernel.set_hostname(hostname)
    kernel.pivot_root(root)
    kernel.mount("none", Path("/"), "", kernel.MS_REC | kernel.MS_SHARED)


def _mount_cgroups(target: Path, groups: list[Hierarchy], flags: int) -> None:
    if all(group.unified for group in groups):
        kernel.mount("cgroup2", target, "cgroup2", flags)
        return
    kernel.mount("tmpfs", target, "tmpfs", flags, "mode=755")
    for group in groups:
        folder = target / group.mountpoint.name
        folder.mkdir()
        fstype = "cgroup2" if group.unified else "cgroup"
        kernel.mount(fstype, folder, fstype, flags, group.options)
