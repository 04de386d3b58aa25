"""Launching the guest's first process in a user namespace, where its root is nobody on the host."""

from __future__ import annotations

import contextlib
import enum
import os
import resource
import signal
from itertools import pairwise
from pathlib import Path

from ....linux import syscalls
from ....linux.control_groups import GuestGroups, own_hierarchies
from ....linuxkit.paths import PATH
from ...guest_spec import GuestSpec
from .console import Console
from .network import Gateway
from .rootfs import OuterRoot, enter

INIT = "/sbin/init"
_FIRST_OTHER = 3  # after standard input, output and error
_ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "TERM": "linux",
}
_LIMITS = {
    resource.RLIMIT_NOFILE: 1_048_576,
    resource.RLIMIT_NPROC: resource.RLIM_INFINITY,
    resource.RLIMIT_CORE: resource.RLIM_INFINITY,
    resource.RLIMIT_MEMLOCK: resource.RLIM_INFINITY,
}
_INNER = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWCGROUP
)


class LaunchError(Exception):
    """The guest's first process could not be started; the message or the log says why."""


class Ending(enum.IntEnum):
    """How a guest ended; the values are the exit statuses by which the holder reports it."""

    POWER_OFF = 10
    REBOOT = 11
    KILLED = 12

    @classmethod
    def of_init(cls, status: int) -> Ending:
        """Return the ending from PID 1's wait status: the kernel ends it by SIGINT on power-off, SIGHUP on reboot."""
        if os.WIFSIGNALED(status):
            return {signal.SIGINT: cls.POWER_OFF, signal.SIGHUP: cls.REBOOT}.get(
                signal.Signals(os.WTERMSIG(status)), cls.KILLED
            )
        return cls.KILLED

    @classmethod
    def of_holder(cls, status: int) -> Ending:
        """Return the ending from the holder's wait status."""
        code = os.waitstatus_to_exitcode(status)
        return cls(code) if code in list(cls) else cls.KILLED


class ProcessGate:
    """A pipe by which one process lets another, related by fork, continue, with a line of text."""

    def __init__(self) -> None:
        self._ends = dict(zip(("read", "write"), os.pipe(), strict=True))

    def open(self, text: str = "") -> None:
        """Let the other process continue."""
        os.write(self._ends["write"], f"{text}\n".encode())

    def wait(self, what: str) -> str:
        """Wait for the other process and return its text; raise LaunchError, naming ``what``, if it ended instead."""
        self.close("write")
        line = os.read(self._ends["read"], 64)
        if not line:
            raise LaunchError(f"guest: {what} failed")
        return line.decode().strip()

    @property
    def descriptors(self) -> list[int]:
        """The ends that are open."""
        return list(self._ends.values())

    def close(self, *ends: str) -> None:
        """Close the named ends, or both."""
        for end in ends or tuple(self._ends):
            descriptor = self._ends.pop(end, None)
            if descriptor is not None:
                os.close(descriptor)


class Holder:
    """The process that owns the guest's user namespace and reports how ``init``, the guest's first process, ended."""

    def __init__(
        self, spec: GuestSpec, groups: GuestGroups, root: OuterRoot, gateway: Gateway, console: Console
    ) -> None:
        self._spec = spec
        self._groups = groups
        self._root = root
        self._console = console
        self._unshared, self._mapped, self._init_started, self._connected = (
            ProcessGate(),
            ProcessGate(),
            ProcessGate(),
            ProcessGate(),
        )
        self.pid = syscalls.fork(self._hold)
        try:
            self.init = self._launch(gateway)
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        finally:
            for gate in (self._unshared, self._mapped, self._init_started, self._connected):
                gate.close()

    def _launch(self, gateway: Gateway) -> int:
        """Prepare the guest from the supervisor while it starts; return the pid of its first process."""
        self._unshared.wait("making the user namespace")
        process = Path(f"/proc/{self.pid}")
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"0 {self._spec.uid_base} {len(self._spec.uids)}\n")
        with (process / "ns/user").open("rb") as userns:
            self._root.mount(userns.fileno())
        self._console.open_log(self._root.path, self._spec.uid_base)
        self._mapped.open()
        init = int(self._init_started.wait("starting the first process"))
        self._root.shares.reconcile()
        gateway.connect(init)
        self._connected.open()
        return init

    def _hold(self) -> None:
        """Make the namespaces, start the first process and exit with its ending; runs in the holder."""
        syscalls.die_with_parent()
        self._close_others()
        _raise_limits()
        self._groups.join()
        os.setsid()
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        self._unshared.open()
        self._mapped.wait("mapping users")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.die_with_parent()
        syscalls.unshare(_INNER)
        init = syscalls.fork(self._init)
        self._init_started.open(str(init))
        _close_from(_FIRST_OTHER)
        _, status = os.waitpid(init, 0)
        os._exit(Ending.of_init(status))

    def _close_others(self) -> None:
        """Close what is the supervisor's alone, such as descriptors of the host's namespaces."""
        gates = (self._unshared, self._mapped, self._init_started, self._connected)
        kept = sorted({self._console.writer, *(end for gate in gates for end in gate.descriptors)})
        for before, after in pairwise([_FIRST_OTHER - 1, *kept]):
            os.closerange(before + 1, after)
        _close_from(kept[-1] + 1)

    def _init(self) -> None:
        """Enter the root and run init; runs in the guest's first process."""
        syscalls.die_with_parent()
        hierarchies = own_hierarchies()
        enter(self._root.path, self._spec.hostname, hierarchies)
        self._connected.wait("connecting the uplink")
        for output in (1, 2):
            os.dup2(self._console.writer, output)
        os.execve(INIT, ["init"], _ENVIRONMENT)


def _close_from(first: int) -> None:
    """Close all descriptors from ``first`` on."""
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _raise_limits() -> None:
    """Raise the limits to those of Docker's own unit where the host allows it; a guest could not raise them itself."""
    for kind, value in _LIMITS.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))
