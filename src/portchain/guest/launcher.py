"""Launching the guest's first process in a user namespace, where its root is nobody on the host."""

from __future__ import annotations

import contextlib
import enum
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from . import PATH, kernel
from .cgroups import GuestGroups, own_hierarchies
from .console import Console
from .network import Gateway
from .rootfs import OuterRoot, enter
from .spec import GuestSpec

INIT = "/sbin/init"
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
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWCGROUP
)


class LaunchError(Exception):
    """The guest's first process could not be started; the log has the reason."""


class Ending(enum.IntEnum):
    """How a guest ended; the values are the exit statuses by which the holder reports it."""

    POWER_OFF = 10
    REBOOT = 11
    KILLED = 12

    @classmethod
    def of_init(cls, status: int) -> Ending:
        """Tell from PID 1's wait status: the kernel ends it by SIGINT on power-off, by SIGHUP on reboot."""
        if os.WIFSIGNALED(status):
            return {signal.SIGINT: cls.POWER_OFF, signal.SIGHUP: cls.REBOOT}.get(
                signal.Signals(os.WTERMSIG(status)), cls.KILLED
            )
        return cls.KILLED

    @classmethod
    def of_holder(cls, status: int) -> Ending:
        """Tell from the holder's wait status."""
        code = os.waitstatus_to_exitcode(status)
        return cls(code) if code in list(cls) else cls.KILLED


class Gate:
    """A one-way signal with a line of text, between two processes related by fork."""

    def __init__(self) -> None:
        self._ends = dict(zip(("read", "write"), os.pipe(), strict=True))

    def open(self, text: str = "") -> None:
        """Let the other side pass."""
        os.write(self._ends["write"], f"{text}\n".encode())

    def wait(self, what: str) -> str:
        """Wait for the other side and return its text; LaunchError if it ended instead."""
        self.close("write")
        line = os.read(self._ends["read"], 64)
        if not line:
            raise LaunchError(f"guest: {what} failed")
        return line.decode().strip()

    def close(self, *ends: str) -> None:
        """Give up the named ends, or both."""
        for end in ends or tuple(self._ends):
            descriptor = self._ends.pop(end, None)
            if descriptor is not None:
                os.close(descriptor)


class Holder:
    """The process that owns the guest's user namespace and reports how its first process, ``init``, ended."""

    def __init__(
        self, spec: GuestSpec, groups: GuestGroups, root: OuterRoot, gateway: Gateway, console: Console
    ) -> None:
        self._spec = spec
        self._groups = groups
        self._root = root
        self._console = console
        self._unshared, self._mapped, self._born, self._go = Gate(), Gate(), Gate(), Gate()
        self.pid = _fork(self._hold)
        try:
            self.init = self._launch(gateway)
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        finally:
            for gate in (self._unshared, self._mapped, self._born, self._go):
                gate.close()

    def _launch(self, gateway: Gateway) -> int:
        self._unshared.wait("making the user namespace")
        process = Path(f"/proc/{self.pid}")
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"0 {self._spec.uid_base} {self._spec.uid_count}\n")
        with (process / "ns/user").open("rb") as userns:
            self._root.mount(userns.fileno())
        self._console.keep(self._root.path, self._spec.uid_base)
        self._mapped.open()
        init = int(self._born.wait("starting the first process"))
        self._root.shares.tend()
        gateway.connect(init)
        self._go.open()
        return init

    def _hold(self) -> None:
        kernel.die_with_parent()
        _raise_limits()
        self._groups.join()
        os.setsid()
        kernel.unshare(kernel.CLONE_NEWUSER)
        self._unshared.open()
        self._mapped.wait("mapping users")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        kernel.die_with_parent()
        kernel.unshare(_INNER)
        init = _fork(self._init)
        self._born.open(str(init))
        _, status = os.waitpid(init, 0)
        os._exit(Ending.of_init(status))

    def _init(self) -> None:
        kernel.die_with_parent()
        hierarchies = own_hierarchies()
        enter(self._root.path, self._spec.hostname, hierarchies)
        self._go.wait("connecting the uplink")
        for output in (1, 2):
            os.dup2(self._console.writer, output)
        os.execve(INIT, ["init"], _ENVIRONMENT)


def _raise_limits() -> None:
    """Let the guest have what Docker's own unit gives dockerd, where the host may; inside it can never be raised."""
    for kind, value in _LIMITS.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


def _fork(run: Callable[[], None]) -> int:
    """Fork a child that does ``run`` and ends; returns its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        run()
    except BaseException as error:
        print(f"guest: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)
