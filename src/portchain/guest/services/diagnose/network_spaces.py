"""Read a network namespace of the guest: listeners and their processes, links, routes, packet filter rules."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ....linux import syscalls
from ....net.listening_sockets import inodes_of
from ....net.socket_diagnostics import list_listeners
from ...host_network_listeners import container_of

SECONDS = 5.0
MAX_OUTPUT = 16 << 20  # bytes
_PROC = Path("/proc")
_CONNTRACK = Path("/proc/net/nf_conntrack")
_MAX_CONNTRACK = 1 << 18  # bytes
_MAX_LISTENERS = 10_000
_COMMANDS = {
    "links": ("ip", "-json", "-details", "-statistics", "address"),
    "routes": ("ip", "-json", "route", "show", "table", "all"),
    "routes6": ("ip", "-json", "-6", "route", "show", "table", "all"),
    "iptables": ("iptables-save", "-c"),
    "ip6tables": ("ip6tables-save", "-c"),
}
# What iptables-save prints about a table that it cannot show completely.
_INCOMPLETE = "use 'nft' tool"
_NFT = ("nft", "--json", "list")
_BY_IPTABLES = {
    f"{family} {table}" for family in ("ip", "ip6") for table in ("raw", "mangle", "nat", "filter", "security")
}
_IPV4 = _PROC / "sys/net/ipv4"
# The engine's own program that serves a published port, if userland-proxy is on.
_PROXY = "docker-proxy"
_MAX_ARGUMENTS = 32

Json = dict[str, Any]
T = TypeVar("T")
# Processes by name; a string says why there is no process.
_Running = dict[str, "subprocess.Popen[bytes] | str"]


def own(
    problems: list[str], commands: Mapping[str, tuple[str, ...]] = _COMMANDS, list_nft: tuple[str, ...] = _NFT
) -> Json:
    """Read the caller's namespace; what cannot be read is noted in ``problems``."""
    space = _collect({**commands, "nft": (*list_nft, "tables")}, problems)
    incomplete = any(_INCOMPLETE in space[name] for name in ("iptables", "ip6tables"))
    if incomplete or has_native(space["nft"]):
        return space | run_all({"nft": (*list_nft, "ruleset")}, problems)
    return space | {"nft": ""}


def has_native(tables: str) -> bool:
    """Return whether nft's JSON list of ``tables`` has one that iptables-save does not show."""
    entries = json.loads(tables, strict=False)["nftables"] if tables else []
    listed = [entry["table"] for entry in entries if "table" in entry]
    return not {f"{table['family']} {table['name']}" for table in listed} <= _BY_IPTABLES


def of_process(pid: int, problems: list[str]) -> Json:
    """Read the namespace of a process; raise OSError if the process has ended."""
    return within(pid, lambda: _collect(_COMMANDS, problems))


def within(pid: int, work: Callable[[], T]) -> T:
    """Run ``work`` in the network namespace of a process, in a thread of its own; return its result; raise OSError."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            results.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _collect(commands: Mapping[str, tuple[str, ...]], problems: list[str]) -> Json:
    running = _start(commands)
    space: Json = {"inode": (_PROC / "thread-self/ns/net").stat().st_ino}
    space["sysctls"] = {"ip_forward": _read(_IPV4 / "ip_forward")}
    space["route_localnet"] = [path.parent.name for path in _IPV4.glob("conf/*/route_localnet") if _read(path) == "1"]
    try:
        rows = [{**asdict(endpoint), "inode": inode} for inode, endpoint in list_listeners().items()]
        space["listeners"] = rows[:_MAX_LISTENERS]
    except OSError as error:
        problems.append(f"guest: {error.strerror or error}")
    return space | _read_outputs(running, problems, SECONDS)


def run_all(commands: Mapping[str, tuple[str, ...]], problems: list[str], seconds: float = SECONDS) -> dict[str, str]:
    """Run the commands at the same time and return their output by name; a failure is noted, its output empty."""
    return _read_outputs(_start(commands), problems, seconds)


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


def _read_outputs(running: _Running, problems: list[str], seconds: float) -> dict[str, str]:
    """Read the processes' output until all have ended, for at most ``seconds``."""
    outputs = dict.fromkeys(running, "")
    end = time.monotonic() + seconds
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
            problems.append(f"{command}: not done after {seconds:g} s")
            continue
        if process.returncode:
            problems.append(f"{command}: exit status {process.returncode}")
        elif len(out) > MAX_OUTPUT:
            problems.append(f"{command}: prints more than {MAX_OUTPUT >> 20} MiB")
        else:
            outputs[name] = out.decode(errors="replace")
    return outputs


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def holders(inodes: Iterable[int]) -> dict[int, list[Json]]:
    """Return the processes holding each socket: ``pid``, ``command``, and of the engine's proxy ``arguments``."""
    wanted, processes = set(inodes), dict[int, list[Json]]()
    for folder in _PROC.glob("[0-9]*") if wanted else ():
        held = inodes_of(folder) & wanted
        if held:
            process: Json = {"pid": int(folder.name), "command": _read(folder / "comm") or "?"}
            if process["command"] == _PROXY and container_of(_read(folder / "cgroup")) is None:
                process["arguments"] = _read(folder / "cmdline").split("\0")[:_MAX_ARGUMENTS]
            for inode in held:
                processes.setdefault(inode, []).append(process)
    return processes


def conntrack() -> str:
    """Return the connections that the guest's own namespace tracks, as the kernel lists them; at most 256 KiB."""
    try:
        with _CONNTRACK.open("rb") as file:
            return file.read(_MAX_CONNTRACK).decode(errors="replace")
    except OSError:
        return ""
