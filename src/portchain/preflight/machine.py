"""What the machine lacks. Pure: facts in, problems out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..guest.subids import Range
from ..mapping.forward import Endpoint
from .sockets import Process

LEAST_KERNEL = (5, 19)
FILE_SYSTEMS = ("ext4", "overlay", "tmpfs", "proc", "sysfs", "mqueue", "devpts")
GIB = 1024**3


@dataclass(frozen=True)
class Refusal:
    """Why the kernel would not let the host listen somewhere, and who is seen holding the port."""

    reason: str
    holders: Sequence[Process] = ()


@dataclass(frozen=True)
class Space:
    """Bytes that are free and bytes that are needed for ``places`` on one file system."""

    places: Sequence[str]
    free: int
    needed: int


@dataclass(frozen=True)
class Machine:
    """The facts. ``forwarders`` has the process ids of the guests' own forwarders; ``mirrors`` the apt sources that do
    not answer, each with the reason."""

    root: bool
    kernel: str
    file_systems: frozenset[str]
    user_namespaces: int
    loop_control: bool
    loop_free: bool
    spaces: Sequence[Space] = ()
    reserved_ids: Mapping[str, Sequence[Range]] = field(default_factory=dict)
    refusals: Mapping[Endpoint, Refusal] = field(default_factory=dict)
    forwarders: frozenset[int] = frozenset()
    mirrors: Mapping[str, str] = field(default_factory=dict)


def lacking(machine: Machine) -> Iterator[str]:
    """Root, kernel, devices, space and package mirrors."""
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
                f"machine: {space.free / GIB:.1f} GiB free for {' and '.join(space.places)}, and "
                f"{space.needed / GIB:.1f} GiB are needed; make room, or mount a larger disk there"
            )
    for mirror, reason in machine.mirrors.items():
        yield (
            f"machine: the package mirror {mirror} does not answer ({reason}), and images must be built; "
            "look at the network, at apt's proxy and at /etc/apt/sources.list.d"
        )


def _kernel(machine: Machine) -> Iterator[str]:
    version = re.match(r"(\d+)\.(\d+)", machine.kernel)
    if version is None or (int(version[1]), int(version[2])) < LEAST_KERNEL:
        needed = ".".join(map(str, LEAST_KERNEL))
        yield f"machine: kernel {machine.kernel} is too old; id-mapped overlays need {needed} or newer"
    if not machine.user_namespaces:
        yield "machine: the kernel allows no user namespaces; raise the sysctl user.max_user_namespaces"
    for name in FILE_SYSTEMS:
        if name not in machine.file_systems:
            yield f"machine: the kernel has no {name}; load the module {name}, or run a kernel with it"


def held_ports(machine: Machine, listens: Sequence[tuple[Endpoint, str]]) -> Iterator[str]:
    """Host ports that something else than the guests' own forwarders keeps from being listened on."""
    for endpoint, label in listens:
        refusal = machine.refusals.get(endpoint)
        if refusal is None or any(process.pid in machine.forwarders for process in refusal.holders):
            continue
        holders = ", ".join(map(str, refusal.holders))
        way_out = f": {holders} listens there; stop it, or" if holders else ";"
        yield f"{label}: host: {endpoint}: {refusal.reason}{way_out} forward another address or port"
