"""The supervisor: one process per guest that boots it, boots it again on reboot, trims its disk and shuts it down.

Usage: python3 -m portchain.host.drivers.namespace.supervisor SPEC.json
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

from ....linux import atomic_files, control_groups, fuse_connections, syscalls
from ....linux.control_groups import GuestGroups, Limits, own_hierarchies
from ... import host_services
from ...guest_spec import GuestSpec
from ...name_resolution import resolv_conf
from ...ssh_agent import SshAgentServer
from ...ssh_proxy import ssh_config
from . import disk, meminfo
from .console import Console, log_files
from .launcher import Ending, Holder, LaunchError
from .network import Gateway, NetworkError
from .power_button import PIPE, PowerButton
from .resolution_file import ResolutionFile
from .rootfs import OuterRoot
from .trim_server import TrimServer

# Seconds after the button was pressed until init is signalled directly, and until it is killed.
BUTTON_DEADLINE = 3.0
POWER_OFF_DEADLINE = 20.0


class Supervisor:
    """Runs one guest until it is powered off."""

    def __init__(self, spec: GuestSpec) -> None:
        self._spec = spec
        self._groups = GuestGroups(spec.name, own_hierarchies())
        self._run_dir = Path(spec.run_dir)
        self._resolution = ResolutionFile(spec.resolution_file)
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_writer = wake
        self._selector.register(self._wake, selectors.EVENT_READ)

    def run(self) -> int:
        """Boot, and boot again after each reboot; return the exit status."""
        self._prepare()
        gateway = Gateway(self._spec)
        host = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", Path("/"), "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        root = OuterRoot(self._spec, self._run_dir / "mnt", host, self._shown_files)
        trim_socket = self._run_dir / host_services.FOLDER / "supervisor.sock"
        trim = TrimServer(trim_socket, self._spec.uid_base, Path(self._spec.disk), root.data)
        self._agent = SshAgentServer(self._spec, host)
        for server in (trim, self._agent):
            self._selector.register(server, selectors.EVENT_READ, server)
        gateway.serve()
        ending = Ending.REBOOT
        try:
            while ending is Ending.REBOOT and not self._stopping:
                ending = self._boot(gateway, root)
                _log(f"guest {self._spec.name}: {ending.name.lower().replace('_', ' ')}")
        finally:
            trim.close()
            self._agent.close()
            gateway.stop()
            self._groups.remove()
            (self._run_dir / "ssh_config").unlink(missing_ok=True)
        return 0 if ending is Ending.POWER_OFF or self._stopping else 1

    def _shown_files(self) -> dict[str, str]:
        """Return the guest's /proc/meminfo and resolv.conf by name."""
        memory = meminfo.for_guest(Path("/proc/meminfo").read_text(), control_groups.read_memory(self._groups.paths))
        return {"meminfo": memory, "resolv.conf": resolv_conf(self._spec.address, self._resolution.domains())}

    def _prepare(self) -> None:
        """Handle signals, lock the guest's folder and prepare its disk; raise LaunchError or DiskError."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer.fileno())
        host_services.make(self._run_dir, self._spec.uid_base)
        (self._run_dir / "mnt").mkdir(exist_ok=True)
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
        fuse_connections.abort(self._spec.uids)
        self._groups.remove()
        self._groups.create(Limits(self._spec.memory, self._spec.cpus, self._spec.pids), self._spec.uid_base)
        button = PowerButton(self._run_dir / host_services.FOLDER / PIPE, self._spec.uid_base)
        console = Console(self._selector, log_files(self._spec.name)[0])
        try:
            holder = Holder(self._spec, self._groups, root, gateway, console)
            self._write_state(holder)
            return self._watch(holder, gateway, button, console, root)
        finally:
            button.close()
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
        atomic_files.replace(self._spec.state_file, json.dumps(state, indent=2) + "\n")
        _log(f"guest {self._spec.name}: running, first process {holder.init}")

    def _watch(
        self, holder: Holder, gateway: Gateway, button: PowerButton, console: Console, root: OuterRoot
    ) -> Ending:
        """Wait until the holder has ended; meanwhile serve the guest, and shut it down step by step when asked to."""
        asked_at: float | None = None
        shutdown_steps = [
            (0.0, button.press),
            (BUTTON_DEADLINE, lambda: self._power_off(holder, button)),
            (POWER_OFF_DEADLINE, lambda: self._kill(holder)),
        ]
        while True:
            pid, status = os.waitpid(holder.pid, os.WNOHANG)
            if pid:
                return Ending.of_holder(status)
            if self._stopping:
                asked_at = asked_at or time.monotonic()
                while shutdown_steps and time.monotonic() - asked_at >= shutdown_steps[0][0]:
                    shutdown_steps.pop(0)[1]()
                if not shutdown_steps:
                    self._free_stuck_processes()
            console.resume()
            gateway.maintain()
            root.shares.reconcile()
            self._agent.reap_children()
            root.shown.update()
            for key, _ in self._selector.select(0.5):
                if key.data:
                    key.data.serve_one()
                else:
                    self._wake.recv(64)

    def _power_off(self, holder: Holder, button: PowerButton) -> None:
        if button.unnoticed:
            _log(f"guest {self._spec.name}: acpid has not noticed the power button; init is told to power off")
        # busybox init powers off on SIGUSR2; a second one changes nothing.
        _send(holder.init, signal.SIGUSR2)

    def _kill(self, holder: Holder) -> None:
        _log(f"guest {self._spec.name}: not off after {POWER_OFF_DEADLINE} s, killed")
        _send(holder.init, signal.SIGKILL)

    def _free_stuck_processes(self) -> None:
        """Let killed processes end that are frozen, or that wait for a file system of their own."""
        self._groups.thaw()
        fuse_connections.abort(self._spec.uids)

    def _request_stop(self, *_: object) -> None:
        self._stopping = True


def _send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, which may have ended meanwhile."""
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
