"""Collecting a machine's facts. Nothing is changed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ..daemon import RUN, STATE
from ..guest.subids import FILES, parse
from ..mapping.forward import Endpoint
from .guest import Guest
from .machine import GIB, Machine, Refusal, Space
from .sockets import holders, why_not_bound

MIRROR_SECONDS = 10
_APT_HELPER = "/usr/lib/apt/apt-helper"


def collect(guests: Sequence[Guest], cache: Path, to_build: bool) -> Machine:
    """The facts of this machine for ``guests``, whose images are kept in ``cache``.

    Package mirrors are asked, for at most ``MIRROR_SECONDS``, and more space is needed, where images are ``to_build``.
    """
    loops = _loops()
    return Machine(
        root=os.geteuid() == 0,
        kernel=platform.release(),
        file_systems=_file_systems(platform.release()),
        user_namespaces=int(_text("/proc/sys/user/max_user_namespaces") or 0),
        loop_control=Path("/dev/loop-control").exists(),
        loop_free=_loop_free(loops) or all(str(STATE / guest.name / "data.img") in loops.values() for guest in guests),
        spaces=_spaces({cache: 3 * GIB, STATE: GIB}) if to_build else (),
        reserved_ids={str(file): parse(_text(str(file))) for file in FILES},
        refusals=_refusals([e for guest in guests for e, _ in guest.listens() if e.protocol != "unix" and e.port]),
        forwarders=frozenset(pid for guest in guests if (pid := _forwarder(guest.name))),
        mirrors=_silent_mirrors() if to_build else {},
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _file_systems(release: str) -> frozenset[str]:
    """Those that the kernel has, and those that it can load."""
    listed = {line.split()[-1] for line in _text("/proc/filesystems").splitlines()}
    modules = _text(f"/lib/modules/{release}/modules.dep") + _text(f"/lib/modules/{release}/modules.builtin")
    return frozenset(listed | set(re.findall(r"/fs/\w+/(\w+)\.ko", modules)))


def _loops() -> dict[str, str]:
    """The loop devices that /dev has, each with its file, or nothing where it is free."""
    names = [device.name for device in Path("/dev").glob("loop[0-9]*") if device.is_block_device()]
    return {name: _text(f"/sys/block/{name}/loop/backing_file").strip() for name in names}


def _loop_free(loops: dict[str, str]) -> bool:
    """Whether one is free, or the kernel puts another into /dev when asked."""
    mounts = (line.split() for line in _text("/proc/self/mounts").splitlines())
    return "" in loops.values() or any(words[1:3] == ["/dev", "devtmpfs"] for words in mounts)


def _spaces(needed: dict[Path, int]) -> list[Space]:
    """One a file system, for places that may still have to be made."""
    there = {place: next(folder for folder in (place, *place.parents) if folder.exists()) for place in needed}
    by_device: defaultdict[int, list[Path]] = defaultdict(list)
    for place, folder in there.items():
        by_device[folder.stat().st_dev].append(place)
    return [
        Space(
            [str(place) for place in places],
            shutil.disk_usage(there[places[0]]).free,
            sum(needed[place] for place in places),
        )
        for places in by_device.values()
    ]


def _refusals(wanted: Collection[Endpoint]) -> dict[Endpoint, Refusal]:
    refused = {e: error for e in set(wanted) if (error := why_not_bound(e))}
    held = holders(refused.keys()) if refused else {}
    return {endpoint: Refusal(error.strerror or str(error), held[endpoint]) for endpoint, error in refused.items()}


def _forwarder(guest: str) -> int | None:
    """The process that serves the guest's control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(RUN / guest / "control.sock"))
        except OSError:
            return None
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def _silent_mirrors() -> dict[str, str]:
    """The apt sources whose release file cannot be had, each with the reason; apt's own proxy and settings hold."""
    deadline = time.monotonic() + MIRROR_SECONDS
    line = "$(REPO_URI)dists/$(RELEASE)/InRelease"
    done, reason = _run(["apt-get", "indextargets", "--format", line, "Created-By: Packages"], deadline)
    silent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted(set(done.split())) if not reason else ():
            fetch = [_APT_HELPER, "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "-o"]
            fetch += ["Acquire::https::Timeout=5", "download-file", source, f"{scratch}/InRelease"]
            _, failed = _run(fetch, deadline)
            if failed:
                silent[source.rpartition("/dists/")[0]] = failed
    return {"of apt": reason or "apt has no sources"} if not done.split() else silent


def _run(command: Iterable[str], deadline: float) -> tuple[str, str]:
    """Its output, and what went wrong."""
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=max(0.1, deadline - time.monotonic()),
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return "", f"nothing within {MIRROR_SECONDS} s"
    except OSError as error:
        return "", str(error)
    errors = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
    return done.stdout, (errors or [f"status {done.returncode}"])[0] if done.returncode else ""
