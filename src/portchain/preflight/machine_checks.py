"""Problems of the machine itself, from facts about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..linux.subordinate_ids import IdRange
from ..net.listening_sockets import SocketHolder
from ..ports.forward import Endpoint

LEAST_KERNEL = (5, 19)
FILE_SYSTEMS = ("ext4", "overlay", "tmpfs", "proc", "sysfs", "mqueue", "devpts")
GIB = 1024**3


@dataclass(frozen=True)
class BindRefusal:
    """The kernel's reason why the host cannot listen on an endpoint, and the processes that hold the port."""

    reason: str
    holders: Sequence[SocketHolder] = ()


@dataclass(frozen=True)
class DiskSpace:
    """The free and the needed bytes for ``folders`` on one file system."""

    folders: Sequence[str]
    free: int
    needed: int


@dataclass(frozen=True)
class MachineFacts:
    """Facts about a machine.

    ``forwarders`` are the pids of the guests' own forwarders. ``mirrors`` are the apt sources that do not answer, each
    with the reason; ``absent_suites`` are Debian suites that they lack, likewise. ``homes`` are the homes of the owners
    that exist, ``folders`` the real paths of the named folders that exist. ``images`` says of each image whether it is
    for the engine. ``networks`` are those in the engine of each guest that runs.
    """

    root: bool
    kernel: str
    file_systems: frozenset[str]
    user_namespaces: int
    loop_control: bool
    loop_free: bool
    spaces: Sequence[DiskSpace] = ()
    reserved_ids: Mapping[str, Sequence[IdRange]] = field(default_factory=dict)
    refusals: Mapping[Endpoint, BindRefusal] = field(default_factory=dict)
    forwarders: frozenset[int] = frozenset()
    mirrors: Mapping[str, str] = field(default_factory=dict)
    absent_suites: Mapping[str, str] = field(default_factory=dict)
    homes: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, bool] = field(default_factory=dict)
    networks: Mapping[str, frozenset[str]] = field(default_factory=dict)


def find_lacking(machine: MachineFacts) -> Iterator[str]:
    """Yield a problem for everything that the machine lacks: root, kernel features, devices, space and mirrors."""
    if not machine.root:
        yield (
            "machine: not root; run as root, or as a user with sudo and --ask-become-pass, and leave become on for the "
            "machine"
        )
    yield from _kernel(machine)
    if not machine.loop_control:
        yield "machine: no /dev/loop-control, so no data disk; modprobe loop, or give the container the device"
    elif not machine.loop_free:
        yield "machine: no free loop device in /dev; losetup --list names the users, mknod /dev/loopN b 7 N makes more"
    for space in machine.spaces:
        if space.free < space.needed:
            yield (
                f"machine: {space.free / GIB:.1f} GiB free for {' and '.join(space.folders)}, and "
                f"{space.needed / GIB:.1f} GiB are needed; make room, or mount a larger disk there"
            )
    for mirror, reason in machine.mirrors.items():
        yield (
            f"machine: the package mirror {mirror} does not answer ({reason}), and images must be built; "
            "look at the network, at apt's proxy and at /etc/apt/sources.list.d"
        )


def _kernel(machine: MachineFacts) -> Iterator[str]:
    version = re.match(r"(\d+)\.(\d+)", machine.kernel)
    if version is None or (int(version[1]), int(version[2])) < LEAST_KERNEL:
        needed = ".".join(map(str, LEAST_KERNEL))
        yield f"machine: kernel {machine.kernel} is too old; id-mapped overlays need {needed} or newer"
    if not machine.user_namespaces:
        yield "machine: the kernel allows no user namespaces; raise the sysctl user.max_user_namespaces"
    for name in FILE_SYSTEMS:
        if name not in machine.file_systems:
            yield f"machine: the kernel has no {name}; load the module {name}, or run a kernel with it"


def find_held_ports(machine: MachineFacts, listens: Sequence[tuple[Endpoint, str]]) -> Iterator[str]:
    """Yield a problem for each endpoint that the host cannot listen on, except those the guests' forwarders hold."""
    for endpoint, label in listens:
        refusal = machine.refusals.get(endpoint)
        if refusal is None or any(process.pid in machine.forwarders for process in refusal.holders):
            continue
        holders = ", ".join(map(str, refusal.holders))
        remedy = f": {holders} listens there; stop it, or" if holders else ";"
        yield f"{label}: host: {endpoint}: {refusal.reason}{remedy} forward another address or port"
