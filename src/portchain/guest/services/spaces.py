"""What a network namespace of the guest has: listeners and whose they are, links, routes, packet filter rules."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...preflight.sockets import inodes_of
from .. import kernel
from .host_network import listeners

SECONDS = 5.0
MAX_OUTPUT = 16 << 20  # bytes
_PROC = Path("/proc")
_CONNTRACK = Path("/proc/net/nf_conntrack")
_MAX_CONNTRACK = 1 << 18  # bytes
_MOST_LISTENERS = 10_000
_COMMANDS = {
    "links": ("ip", "-json", "-details", "-statistics", "address"),
    "routes": ("ip", "-json", "route", "show", "table", "all"),
    "routes6": ("ip", "-json", "-6", "route", "show", "table", "all"),
    "iptables": ("iptables-save", "-c"),
    "ip6tables": ("ip6tables-save", "-c"),
}
# What iptables-save says of a table that it does not show as a whole.
_SEE_NFT = "use 'nft' tool"
_NFT = ("nft", "--json", "list")
_BY_IPTABLES = {
    f"{family} {table}" for family in ("ip", "ip6") for table in ("raw", "mangle", "nat", "filter", "security")
}
_IPV4 = _PROC / "sys/net/ipv4"

Told = dict[str, Any]
T = TypeVar("T")
# By name; in place of a process, why there is none.
_Running = dict[str, "subprocess.Popen[bytes] | str"]


def own(problems: list[str]) -> Told:
    """The caller's namespace; what cannot be told goes to ``problems``."""
    told = _look(_COMMANDS | {"nft": (*_NFT, "tables")}, problems)
    incomplete = any(_SEE_NFT in told[name] for name in ("iptables", "ip6tables"))
    if incomplete or has_native(told["nft"]):
        return told | printed({"nft": (*_NFT, "ruleset")}, problems)
    return told | {"nft": ""}


def has_native(tables: str) -> bool:
    """Whether nft's list of ``tables``, its JSON, has one that iptables-save does not show."""
    found = json.loads(tables)["nftables"] if tables else []
    return not {f"{one['table']['family']} {one['table']['name']}" for one in found if "table" in one} <= _BY_IPTABLES


def of_process(pid: int, problems: list[str]) -> Told:
    """The namespace of a process; raise OSError where it has ended."""
    return within(pid, lambda: _look(_COMMANDS, problems))


def within(pid: int, work: Callable[[], T]) -> T:
    """Do ``work`` in the network namespace of a process, in a thread of its own; raise OSError."""
    found: list[T] = []
    failed: list[Exception] = []

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


def _look(commands: Mapping[str, tuple[str, ...]], problems: list[str]) -> Told:
    running = _start(commands)
    told: Told = {"inode": (_PROC / "thread-self/ns/net").stat().st_ino}
    told["sysctls"] = {"ip_forward": _read(_IPV4 / "ip_forward")}
    told["route_localnet"] = [path.parent.name for path in _IPV4.glob("conf/*/route_localnet") if _read(path) == "1"]
    try:
        told["listeners"] = [one._asdict() for one in listeners()[:_MOST_LISTENERS]]
    except OSError as error:
        problems.append(str(error))
    return told | _end(running, problems)


def printed(commands: Mapping[str, tuple[str, ...]], problems: list[str]) -> dict[str, str]:
    """What each of the commands prints, all run at the same time; nothing, and a problem, of one that cannot be run."""
    return _end(_start(commands), problems)


def _start(commands: Mapping[str, tuple[str, ...]]) -> _Running:
    running: _Running = {}
    for name, command in commands.items():
        try:
            running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            running[name] = f"guest: {command[0]} cannot be run: {error.strerror}"
    return running


def _end(running: _Running, problems: list[str]) -> dict[str, str]:
    """Read them, all for at most SECONDS."""
    found = dict.fromkeys(running, "")
    end = time.monotonic() + SECONDS
    for name, process in running.items():
        if isinstance(process, str):
            problems.append(process)
            continue
        assert isinstance(process.args, tuple)
        command = f"guest: {' '.join(process.args)}"
        try:
            out, _ = process.communicate(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            problems.append(f"{command}: no end after {SECONDS:g} s")
            continue
        if process.returncode:
            problems.append(f"{command}: exit status {process.returncode}")
        elif len(out) > MAX_OUTPUT:
            problems.append(f"{command}: more than {MAX_OUTPUT >> 20} MiB")
        else:
            found[name] = out.decode(errors="replace")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def holders(inodes: Iterable[int]) -> dict[int, list[Told]]:
    """The processes, ``pid`` and ``command`` each, that hold each of the sockets."""
    wanted, found = set(inodes), dict[int, list[Told]]()
    for process in _PROC.glob("[0-9]*") if wanted else ():
        held = inodes_of(process) & wanted
        if held:
            one = {"pid": int(process.name), "command": _read(process / "comm") or "?"}
            for inode in held:
                found.setdefault(inode, []).append(one)
    return found


def conntrack() -> str:
    """The connections that the guest's own namespace tracks, as the kernel lists them; cut where there are many."""
    try:
        with _CONNTRACK.open("rb") as file:
            return file.read(_MAX_CONNTRACK).decode(errors="replace")
    except OSError:
        return ""
