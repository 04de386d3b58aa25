"""What a guest leaves on its host: everything that must be gone after a teardown."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

NAMESPACES = ("mnt", "net", "pid", "user", "uts", "ipc", "cgroup")
FOLDERS = (
    *("/run/portchain", "/var/lib/portchain", "/var/log/portchain", "/usr/local/lib/portchain"),
    str(Path.home() / ".docker/contexts"),
)


def traces() -> set[str]:
    """Every process, namespace, mount, loop device, control group, link, socket and file of portchain, a line each."""
    return {
        *_processes(),
        *_namespaces(),
        *(f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        *(f"loop {line}" for line in _lines("losetup", "--all", "--noheadings", "--output", "NAME,BACK-FILE")),
        *(f"cgroup {path}" for path in Path("/sys/fs/cgroup").rglob("*portchain*")),
        *(f"link {line.split()[0]}" for line in _lines("ip", "-brief", "link")),
        *(f"rule {line}" for line in _lines("iptables-save") if line.startswith("-")),
        *(f"reserved {line}" for name in ("subuid", "subgid") for line in _text(f"/etc/{name}") if "portchain" in line),
        *(f"unit {path}" for path in Path("/etc/systemd/system").glob("portchain*")),
        *(f"file {path}" for folder in FOLDERS for path in (Path(folder), *Path(folder).rglob("*")) if path.exists()),
    }


def written() -> set[str]:
    """The traces that are files, or lines in files."""
    return {line for line in traces() if line.startswith(("file", "reserved", "unit"))}


def _processes() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if "portchain" in command and "pytest" not in command:
                yield f"process {command}"


def _namespaces() -> Iterator[str]:
    """All but those of short-lived strangers: only kinds with an inode that a process of this machine holds open."""
    for path in Path("/proc").glob("[0-9]*"):
        for kind in NAMESPACES:
            with contextlib.suppress(OSError):
                yield f"namespace {(path / 'ns' / kind).readlink()}"


def _lines(*command: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.splitlines()
    return []


def _text(path: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return Path(path).read_text().splitlines()
    return []
