"""What each service may do: no more than it needs, as its processes have it and as its container was asked for."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from portchain.linuxkit.checks import CAPABILITIES

MIB = 1 << 20


@dataclass(frozen=True)
class Rights:
    """Capabilities, whether the root is read-only and privileges cannot grow, what is new, MiB of memory at most."""

    capabilities: frozenset[str]
    read_only: bool
    no_new: bool
    memory: int
    new: frozenset[str]


def rights(capabilities: str, memory: int, new: str = "pid") -> Rights:
    """Those of a service like most: a read-only root, and no way to more."""
    return Rights(frozenset(capabilities.split()), True, True, memory, frozenset(new.split()))


ALL = frozenset(name.removeprefix("CAP_") for name in CAPABILITIES)
WANTED = {
    "acpid": rights("", 16, ""),
    "allowlist": rights("KILL", 64, ""),
    "binfmt": rights("", 32, "ipc network pid"),
    "devenv-service": rights("DAC_OVERRIDE", 512),
    "dhcpcd": rights("KILL NET_ADMIN NET_BIND_SERVICE NET_RAW SETGID SETUID SYS_CHROOT", 32),
    # A way in for people: the shells below it are root's own.
    "diagnose": Rights(ALL, False, False, 1024, frozenset()),
    "dns-forwarder": rights("NET_BIND_SERVICE", 64),
    # It makes containers with whatever rights they are given.
    "docker": Rights(ALL, False, False, 2048, frozenset()),
    "http-proxy": rights("", 128),
    "kmsg": rights("", 32, "ipc network pid"),
    "sntpc": rights("", 32, "ipc pid"),
    "socks": rights("", 128),
    "trim-after-delete": rights("", 64),
    "volume-contents": rights("DAC_READ_SEARCH", 128, "network pid"),
    "vpnkit-forwarder": rights("NET_ADMIN", 512),
}


@pytest.fixture(scope="session")
def pids(host: Host) -> dict[str, int]:
    """The first process of each service."""
    rows = [line.split() for line in host.check_output("ctr -n services.linuxkit task ls").splitlines()[1:]]
    return {name: int(pid) for name, pid, _ in rows}


def status_of(host: Host, pid: int) -> dict[str, str]:
    """Its /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines())


def root_is_read_only(host: Host, pid: int) -> bool:
    """Whether the root of its mount namespace is, wherever it has shut itself in since."""
    listed = host.check_output(f"nsenter -t {pid} -m -p cat /proc/self/mountinfo").splitlines()
    return "ro" in next(mount.split()[5] for mount in listed if mount.split()[4] == "/").split(",")


def names(mask: str) -> frozenset[str]:
    """The capabilities of a mask of /proc/PID/status."""
    return frozenset(
        name.removeprefix("CAP_") for number, name in enumerate(CAPABILITIES) if int(mask, 16) & 1 << number
    )


def as_asked(host: Host, name: str) -> Rights:
    """What the container of a service was made with."""
    spec: dict[str, Any] = json.loads(host.check_output(f"ctr -n services.linuxkit c info {name}"))["Spec"]
    return Rights(
        frozenset(one.removeprefix("CAP_") for one in spec["process"]["capabilities"].get("bounding") or []),
        spec["root"].get("readonly", False),
        spec["process"].get("noNewPrivileges", False),
        spec["linux"]["resources"]["memory"]["limit"] // MIB,
        frozenset(one["type"] for one in spec["linux"]["namespaces"]) - {"mount"},
    )


def test_each_was_asked_for_with_what_it_needs(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    found = {name: as_asked(host, name) for name in WANTED}
    with capsys.disabled():
        print(f"\n{'SERVICE':18}{'ROOT':6}{'GROWS':7}{'MEMORY':>9}  {'NEW':19} CAPABILITIES")
        for name, one in sorted(found.items()):
            capabilities = "all" if one.capabilities == ALL else " ".join(sorted(one.capabilities)).lower() or "none"
            root, grows = "ro" if one.read_only else "rw", "no" if one.no_new else "yes"
            print(f"{name:18}{root:6}{grows:7}{one.memory:5} MiB  {' '.join(sorted(one.new)):19} {capabilities}")
    assert found == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_its_process_has_no_more(name: str, host: Host, pids: dict[str, int]) -> None:
    status = status_of(host, pids[name])
    wanted = WANTED[name]
    assert names(status["CapBnd"]) == wanted.capabilities
    assert names(status["CapEff"]) <= wanted.capabilities
    assert (root_is_read_only(host, pids[name]), status["NoNewPrivs"] == "1") == (wanted.read_only, wanted.no_new)


@pytest.mark.parametrize("name", sorted(WANTED))
def test_the_kernel_holds_its_memory(name: str, host: Host) -> None:
    files = f"/sys/fs/cgroup/memory/services/{name}/memory.limit_in_bytes /sys/fs/cgroup/services/{name}/memory.max"
    assert int(host.run(f"cat {files}").stdout) == WANTED[name].memory * MIB


def test_one_that_wants_too_much_is_ended_alone(host: Host, pids: dict[str, int]) -> None:
    groups = "/sys/fs/cgroup/memory/services/acpid /sys/fs/cgroup/services/acpid"
    joined = f"for group in {groups}; do [ -e $group ] && echo $$ >$group/cgroup.procs; done"
    command = f"{joined}; exec python3 -c 'x = bytearray(100 << 20)'"
    assert host.check_output(f"sh -c {shlex.quote(command)}; echo $?") == "137"
    assert all(host.file(f"/proc/{pid}").exists for name, pid in pids.items() if name != "acpid")
