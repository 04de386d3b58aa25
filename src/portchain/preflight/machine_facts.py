"""Collecting facts about a machine, without changing anything."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..http.blocking_client import get_json
from ..image.builder import BuildError, read_sources
from ..linux.service_manager import RUN, STATE
from ..linux.subordinate_ids import FILES, parse_ranges
from ..net.listening_sockets import find_holders, try_bind
from ..net.socket_address import peer_credentials
from ..ports.forward import Endpoint
from .guest_variables import InventoryGuest
from .machine_checks import GIB, BindRefusal, DiskSpace, MachineFacts

MIRROR_SECONDS = 10
ENGINE_SECONDS = 5
_NOTHING = f"nothing within {MIRROR_SECONDS} s"
_APT_HELPER = "/usr/lib/apt/apt-helper"


def collect(
    guests: Sequence[InventoryGuest], cache: Path, to_build: Collection[str], images: Mapping[str, bool]
) -> MachineFacts:
    """Collect the facts of this machine that concern ``guests``.

    Their images are kept in ``cache``; ``images`` becomes part of the result. If images are to be built, ``to_build``
    has their Debian suites: package mirrors are asked, twice at most ``MIRROR_SECONDS``, and space is needed.
    """
    fetched = _fetch_releases() if to_build else {}
    silent = {file.rsplit("/dists/", 1)[0]: failure for file, failure in fetched.items() if failure}
    loops = _loops()
    homes = _homes(guest.owner for guest in guests)
    return MachineFacts(
        root=os.geteuid() == 0,
        kernel=platform.release(),
        file_systems=_file_systems(platform.release()),
        user_namespaces=int(_text("/proc/sys/user/max_user_namespaces") or 0),
        loop_control=Path("/dev/loop-control").exists(),
        loop_free=_loop_free(loops) or all(str(STATE / guest.name / "data.img") in loops.values() for guest in guests),
        spaces=_spaces({cache: 3 * GIB, STATE: GIB}) if to_build else (),
        reserved_ids={str(file): parse_ranges(_text(str(file))) for file in FILES},
        refusals=_refusals([e for guest in guests for e, _ in guest.listens() if e.protocol != "unix" and e.port]),
        forwarders=frozenset(pid for guest in guests if (pid := _forwarder_pid(guest.name))),
        mirrors=silent,
        absent_suites=_absent_suites(to_build, fetched) if to_build and not silent else {},
        homes=homes,
        folders={path: str(Path(path).resolve()) for path in _named_folders(guests, homes) if Path(path).is_dir()},
        images=images,
        networks={guest.name: _networks(guest.name) for guest in guests},
    )


def _text(path: str) -> str:
    """Return a file's text, empty if it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _file_systems(release: str) -> frozenset[str]:
    """Return the file systems that the kernel has or can load."""
    listed = {line.split()[-1] for line in _text("/proc/filesystems").splitlines()}
    modules = _text(f"/lib/modules/{release}/modules.dep") + _text(f"/lib/modules/{release}/modules.builtin")
    return frozenset(listed | set(re.findall(r"/fs/\w+/(\w+)\.ko", modules)))


def _loops() -> dict[str, str]:
    """Return the loop devices in /dev, each with its file, or an empty text if it is free."""
    names = [device.name for device in Path("/dev").glob("loop[0-9]*") if device.is_block_device()]
    return {name: _text(f"/sys/block/{name}/loop/backing_file").strip() for name in names}


def _loop_free(loops: dict[str, str]) -> bool:
    """Return whether a loop device is free, or the kernel adds devices to /dev itself."""
    mounts = (line.split() for line in _text("/proc/self/mounts").splitlines())
    return "" in loops.values() or any(words[1:3] == ["/dev", "devtmpfs"] for words in mounts)


def _spaces(needed: dict[Path, int]) -> list[DiskSpace]:
    """Return the space on each file system that is to hold the folders in ``needed``, which need not exist yet."""
    existing = {path: next(folder for folder in (path, *path.parents) if folder.exists()) for path in needed}
    by_device: defaultdict[int, list[Path]] = defaultdict(list)
    for path, folder in existing.items():
        by_device[folder.stat().st_dev].append(path)
    return [
        DiskSpace(
            [str(path) for path in paths],
            shutil.disk_usage(existing[paths[0]]).free,
            sum(needed[path] for path in paths),
        )
        for paths in by_device.values()
    ]


def _refusals(wanted: Collection[Endpoint]) -> dict[Endpoint, BindRefusal]:
    refused = {endpoint: error for endpoint in set(wanted) if (error := try_bind(endpoint))}
    held = find_holders(refused.keys()) if refused else {}
    return {endpoint: BindRefusal(error.strerror or str(error), held[endpoint]) for endpoint, error in refused.items()}


def _forwarder_pid(guest: str) -> int | None:
    """Return the pid of the process that serves the guest's control socket, None if nothing does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(RUN / guest / "control.sock"))
        except OSError:
            return None
        return peer_credentials(client).pid


def _homes(users: Iterable[str]) -> dict[str, str]:
    """Return the homes of those users that exist."""
    homes = {}
    for user in users:
        with contextlib.suppress(KeyError):
            homes[user] = pwd.getpwnam(user).pw_dir
    return homes


def _named_folders(guests: Iterable[InventoryGuest], homes: Mapping[str, str]) -> Iterator[str]:
    """Yield the folders that the guests' variables name."""
    for guest in guests:
        home = homes.get(guest.owner, "/")
        with contextlib.suppress(ValueError):
            yield from (share.path for share in guest.shares(home).folders)
        yield from (path for _, path in guest.volumes(home))


def _networks(guest: str) -> frozenset[str]:
    """Return the networks of the guest's engine, none if it does not answer."""
    try:
        networks = get_json(str(RUN / guest / "docker.sock"), "/networks", ENGINE_SECONDS)
        return frozenset(str(network["Name"]) for network in networks)
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def _fetch_releases() -> dict[str, str]:
    """Fetch the release files of all apt sources; return the reason for each that fails, or an empty string.

    If apt lists no sources, the reason is that of the single entry ``of apt``.
    """
    deadline = time.monotonic() + MIRROR_SECONDS
    line = "$(REPO_URI)dists/$(RELEASE)/InRelease"
    done, reason = _run(["apt-get", "indextargets", "--format", line, "Created-By: Packages"], deadline)
    if reason or not done.split():
        return {"of apt": reason or "apt has no sources"}
    return {file: _fetch(file, deadline) for file in sorted(set(done.split()))}


def _absent_suites(suites: Collection[str], fetched: Collection[str]) -> dict[str, str]:
    """Return the Debian suites that the mirrors do not have, each with the reason.

    The mirrors answered when the release files ``fetched`` were asked for, so that these are there.
    """
    deadline = time.monotonic() + MIRROR_SECONDS
    try:
        sources = read_sources(suites)
    except BuildError as error:
        return dict.fromkeys(suites, str(error))
    others = (source for source in sources if source.release_file not in fetched)
    failures = ((source, _fetch(source.release_file, deadline)) for source in others)
    return {
        source.suite: f"the package mirror {source.uri} does not have {source.release} ({failure})"
        for source, failure in failures
        if failure and failure != _NOTHING
    }


def _fetch(file: str, deadline: float) -> str:
    """Fetch a file with apt's own settings; return the reason of a failure, or an empty string."""
    with tempfile.TemporaryDirectory() as scratch:
        fetch = [_APT_HELPER, "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "-o"]
        fetch += ["Acquire::https::Timeout=5", "download-file", file, f"{scratch}/InRelease"]
        return _run(fetch, deadline)[1]


def _run(command: Iterable[str], deadline: float) -> tuple[str, str]:
    """Run a command; return its output and the reason if it failed, else an empty text."""
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
        return "", _NOTHING
    except OSError as error:
        return "", str(error)
    errors = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
    return done.stdout, (errors or [f"status {done.returncode}"])[0] if done.returncode else ""
