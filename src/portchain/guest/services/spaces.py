"""What a network namespace of the guest has: listeners and whose they are, links, routes, packet filter rules."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from .. import kernel
from .host_network import listeners

SECONDS = 5.0
_SOCKET = re.compile(r"socket:\[(\d+)]")
_PROC = Path("/proc")
_CONNTRACK = Path("/proc/net/nf_conntrack")
_MAX_CONNTRACK = 1 << 18  # bytes
_COMMANDS = {
    "links": ("ip", "-json", "-details", "-statistics", "address"),
    "routes": ("ip", "-json", "route", "show", "table", "all"),
    "routes6": ("ip", "-json", "-6", "route", "show", "table", "all"),
    "iptables": ("iptables-save", "-c"),
    "ip6tables": ("ip6tables-save", "-c"),
}
_OF_THE_GUEST = {"nft": ("nft", "--json", "list", "ruleset")}
_SYSCTLS = {"ip_forward": "net/ipv4/ip_forward", "route_localnet": "net/ipv4/conf/all/route_localnet"}

Told = dict[str, Any]
T = TypeVar("T")


def own(problems: list[str]) -> Told:
    """The caller's namespace; what cannot be told goes to ``problems``."""
    return _look(_COMMANDS | _OF_THE_GUEST, problems)


def of_process(pid: int, problems: list[str]) -> Told:
    """The namespace of a process; raise OSError where it has ended."""
    return within(pid, lambda: _look(_COMMANDS, problems))


def within(pid: int, work: Callable[[], T]) -> T:
    """Do ``work`` in the network namespace of a process, in a thread of its own; raise OSError."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                kernel.setns(descriptor, kernel.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            found.append(work())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _look(commands: dict[str, tuple[str, ...]], problems: list[str]) -> Told:
    running = {name: _start(command) for name, command in commands.items()}
    told: Told = {"inode": (_PROC / "thread-self/ns/net").stat().st_ino}
    told["sysctls"] = {name: _read(_PROC / "sys" / path) for name, path in _SYSCTLS.items()}
    try:
        told["listeners"] = [one._asdict() for one in listeners()]
    except OSError as error:
        problems.append(str(error))
    for name, process in running.items():
        told[name] = _end(commands[name], process, problems)
    return told


def _start(command: tuple[str, ...]) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return None


def _end(command: tuple[str, ...], process: subprocess.Popen[bytes] | None, problems: list[str]) -> str:
    if process is None:
        problems.append(f"guest: no program {command[0]}")
        return ""
    try:
        out, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        problems.append(f"guest: {' '.join(command)}: no end after {SECONDS:.0f} s")
        return ""
    return out.decode(errors="replace")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def holders(inodes: Iterable[int]) -> dict[int, list[Told]]:
    """The processes, ``pid`` and ``command`` each, that hold each of the sockets."""
    wanted, found = set(inodes), dict[int, list[Told]]()
    for process in _PROC.glob("[0-9]*") if wanted else ():
        try:
            links = [str(entry.readlink()) for entry in (process / "fd").iterdir()]
            held = {int(match[1]) for link in links if (match := _SOCKET.fullmatch(link))} & wanted
            if held:
                one = {"pid": int(process.name), "command": (process / "comm").read_text().strip()}
                for inode in held:
                    found.setdefault(inode, []).append(one)
        except OSError:
            continue  # it ended meanwhile
    return found


def conntrack() -> str:
    """The connections that the guest's own namespace tracks, as the kernel lists them; cut where there are many."""
    try:
        with _CONNTRACK.open("rb") as file:
            return file.read(_MAX_CONNTRACK).decode(errors="replace")
    except OSError:
        return ""
