"""What a guest's root does so that the guest can neither be stopped nor removed; prints ``done``, then freezes init.

Runs in the guest, as its root, with nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
ODD_NAMES = (b"-rf", b"a b", b"line\nbreak", b"\xff\xfe", b"*", b"$(reboot)", b"x" * 255)
FUSE_INIT_REPLY = struct.Struct("IIIIHHIIHHI28x")
libc = ctypes.CDLL(None, use_errno=True)


def nest(folder: Path, name: str, depth: int) -> None:
    """Make folders in each other, deeper than a path may be long or as deep as is allowed."""
    os.chdir(folder)
    with contextlib.suppress(OSError):
        for _ in range(depth):
            Path(name).mkdir()
            os.chdir(name)
    os.chdir("/")


def fill(folder: Path, hierarchy: bool) -> None:
    """Put folders into ``folder`` that are hard to walk or to name; a hierarchy does not take a line break."""
    nest(folder, "n" * 200, 40)
    nest(folder, "d", 2000)
    for name in ODD_NAMES:
        with contextlib.suppress(OSError):
            (folder / os.fsdecode(name)).mkdir()
    if not hierarchy:
        for name in ODD_NAMES:
            with contextlib.suppress(OSError):
                (folder / os.fsdecode(name) / "file").touch()


def stay(*before: str) -> int:
    """Start processes that ignore what can be ignored and never end by themselves; return the first one's pid."""
    code = """\
import os, signal, time
for number in (1, 2, 3, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(4):
    os.fork()
time.sleep(1e6)"""
    quiet = subprocess.DEVNULL
    command = [*before, "python3", "-c", code]
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True).pid


def freeze(pids: list[int], name: str) -> None:
    """Freeze processes in groups below a frozen group; without a freezer of its own, by cgroup v2."""
    freezer = GROUPS / "freezer"
    top = (freezer if freezer.exists() else GROUPS) / name
    inner = top / "inner"
    inner.mkdir(parents=True)
    for pid in pids:
        (inner / "cgroup.procs").write_text(str(pid))
    file, value = ("freezer.state", "FROZEN") if freezer.exists() else ("cgroup.freeze", "1")
    for group in (inner, top):
        (group / file).write_text(value)


def wait_for_own_file_system() -> None:
    """Wait for an answer of a file system of one's own, whose question one has taken and never answers."""
    Path("/tmp/own").mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"own", b"/tmp/own", b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount fuse")
    _, _, unique = struct.unpack_from("IIQ", os.read(device, 1 << 17))
    reply = FUSE_INIT_REPLY.pack(7, 31, 0, 0, 0, 0, 4096, 0, 0, 0, 0)
    os.write(device, struct.pack("IiQ", 16 + len(reply), 0, unique) + reply)
    threading.Thread(target=Path("/tmp/own/x").exists, daemon=True).start()
    os.read(device, 1 << 17)
    Path("/tmp/waits").touch()
    time.sleep(1e6)


def apart() -> None:
    """Do it in another process, and go on once it waits."""
    if not os.fork():
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(quiet, descriptor)
        wait_for_own_file_system()
    while not Path("/tmp/waits").exists():
        time.sleep(0.05)


def mount_much() -> None:
    """Mount file systems on each other, some of them read-only, and try to make files immutable."""
    for _ in range(50):
        subprocess.run(["mount", "-t", "tmpfs", "worst", "/mnt"], check=False)
    for path in ("/", "/run", "/var/lib/docker", "/run/host-services"):
        subprocess.run(["mount", "-o", "remount,ro,bind", path], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["chattr", "-R", "+i", path], stderr=subprocess.DEVNULL, check=False, timeout=60)


def fill_disk() -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), Path("/var/lib/docker/full").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass


def main() -> None:
    """Do all of it; init is frozen last."""
    for hierarchy in [path for path in GROUPS.iterdir() if (path / "cgroup.procs").exists()] or [GROUPS]:
        fill(hierarchy, hierarchy=True)
    for folder in ("/run", "/tmp", "/var/lib/docker", "/var/log"):
        fill(Path(folder), hierarchy=False)
    stopped = stay()
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(0.5)
    freeze([stay(), stay("unshare", "--pid", "--fork"), stopped], "cold")
    apart()
    fill_disk()
    mount_much()
    print("done", flush=True)
    with contextlib.suppress(OSError):
        freeze([1], "init")


if __name__ == "__main__":
    main()
