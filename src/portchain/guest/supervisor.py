"""The supervisor: one process per guest that boots it, restarts it on reboot, trims its disk and takes it down.

Usage: python3 -m portchain.guest.supervisor SPEC.json
Exit status: 0 when the guest was powered off, 1 when it could not be started or was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from ..ssh_proxy import ssh_config
from . import disk, kernel
from .cgroups import GuestGroups, Limits, own_hierarchies
from .console import Console
from .launcher import Ending, Holder, LaunchError
from .network import Gateway, NetworkError
from .power_button import PIPE, PowerButton
from .rootfs import OuterRoot
from .spec import GuestSpec
from .trim import TrimServer

# From the button's press: then init is told directly, and later killed.
BUTTON_DEADLINE = 3.0
POWER_OFF_DEADLINE = 20.0


class Supervisor:
    """Runs one guest until it is powered off."""

    def __init__(self, spec: GuestSpec) -> None:
        self._spec = spec
        self._groups = GuestGroups(spec.name, own_hierarchies())
        self._run_dir = Path(spec.run_dir)
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_writer = wake
        self._selector.register(self._wake, selectors.EVENT_READ)

    def run(self) -> int:
        """Boot, and boot again after each reboot; returns the exit status."""
        self._prepare()
        gateway = Gateway(self._spec)
        host = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", Path("/"), "", kernel.MS_REC | kernel.MS_PRIVATE)
        root = OuterRoot(self._spec, self._run_dir / "mnt", host)
        trim = TrimServer(self._run_dir / "host-services/supervisor.sock", self._spec.uid_base, root.data)
        self._selector.register(trim, selectors.EVENT_READ, trim)
        gateway.serve()
        ending = Ending.REBOOT
        try:
            while ending is Ending.REBOOT and not self._stopping:
                ending = self._boot(gateway, root)
                _log(f"guest {self._spec.name}: {ending.name.lower().replace('_', ' ')}")
        finally:
            trim.close()
            gateway.stop()
            self._groups.remove()
            (self._run_dir / "ssh_config").unlink(missing_ok=True)
        return 0 if ending is Ending.POWER_OFF or self._stopping else 1

    def _prepare(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer.fileno())
        for name in ("host-services", "mnt"):
            (self._run_dir / name).mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._run_dir, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(f"host: guest {self._spec.name} is already running") from None
        access = ssh_config(self._spec.name, self._spec.run_dir, self._spec.source)
        (self._run_dir / "ssh_config").write_text(access)
        if not Path(self._spec.disk).exists():
            disk.create(Path(self._spec.disk), self._spec.disk_size)
        disk.check_variant(Path(self._spec.disk))
        disk.grow(Path(self._spec.disk), self._spec.disk_size)

    def _boot(self, gateway: Gateway, root: OuterRoot) -> Ending:
        self._groups.remove()
        self._groups.create(Limits(self._spec.memory, self._spec.cpus, self._spec.pids), self._spec.uid_base)
        button = PowerButton(self._run_dir / "host-services" / PIPE, self._spec.uid_base)
        console = Console()
        self._selector.register(console, selectors.EVENT_READ, console)
        try:
            holder = Holder(self._spec, self._groups, root, gateway, console)
            self._write_state(holder)
            return self._watch(holder, gateway, button, root)
        finally:
            button.close()
            self._selector.unregister(console)
            console.close()
            self._spec.state_file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                root.unmount()

    def _write_state(self, holder: Holder) -> None:
        state = {
            "driver": self._spec.driver,
            "supervisor": os.getpid(),
            "pid": holder.init,
            "started": time.time(),
            "cgroups": [str(path) for path in self._groups.paths],
        }
        half = self._spec.state_file.with_suffix(".new")
        half.write_text(json.dumps(state, indent=2) + "\n")
        half.rename(self._spec.state_file)
        _log(f"guest {self._spec.name}: running, first process {holder.init}")

    def _watch(self, holder: Holder, gateway: Gateway, button: PowerButton, root: OuterRoot) -> Ending:
        """Wait until the holder has ended, serving what comes meanwhile."""
        asked_at: float | None = None
        urges = [
            (0.0, button.press),
            (BUTTON_DEADLINE, lambda: self._tell(holder, button)),
            (POWER_OFF_DEADLINE, lambda: self._kill(holder)),
        ]
        while True:
            pid, status = os.waitpid(holder.pid, os.WNOHANG)
            if pid:
                return Ending.of_holder(status)
            if self._stopping:
                asked_at = asked_at or time.monotonic()
                while urges and time.monotonic() - asked_at >= urges[0][0]:
                    urges.pop(0)[1]()
            gateway.tend()
            root.shares.tend()
            for key, _ in self._selector.select(1.0):
                if key.data:
                    key.data.serve_one()
                else:
                    self._wake.recv(64)

    def _tell(self, holder: Holder, button: PowerButton) -> None:
        if button.unnoticed:
            _log(f"guest {self._spec.name}: acpid has not noticed the power button; init is told to power off")
        # busybox init powers off on SIGUSR2; while it does, another changes nothing.
        _send(holder.init, signal.SIGUSR2)

    def _kill(self, holder: Holder) -> None:
        _log(f"guest {self._spec.name}: not off after {POWER_OFF_DEADLINE} s, killed")
        _send(holder.init, signal.SIGKILL)

    def _request_stop(self, *_: object) -> None:
        self._stopping = True


def _send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended by itself meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the guest whose spec file is the only argument."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return Supervisor(GuestSpec.load(Path(sys.argv[1]))).run()
    except (OSError, TypeError, ValueError, TimeoutError, LaunchError, NetworkError, disk.DiskError) as error:
        _log(f"guest: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
