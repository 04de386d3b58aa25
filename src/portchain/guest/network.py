"""The guest's uplink: a private gateway network namespace, a veth pair into the guest, DHCP and DNS in between."""

from __future__ import annotations

import contextlib
import os
import subprocess

from . import kernel
from .spec import GuestSpec

_LINK = "guest0"


class NetworkError(Exception):
    """The uplink cannot be set up; the message says what failed."""


class Gateway:
    """The gateway namespace of one guest and the programs in it. Nothing appears in the host's own namespace."""

    def __init__(self, spec: GuestSpec) -> None:
        self._spec = spec
        self._programs: list[subprocess.Popen[bytes]] = []
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            kernel.setns(own, kernel.CLONE_NEWNET)
        finally:
            os.close(own)
        self._run("ip", "link", "set", "lo", "up")

    def connect(self, guest: int) -> None:
        """Give the network namespace of process ``guest`` its eth0, and address the gateway's end of it."""
        address = f"{self._spec.gateway}/{self._spec.network.prefixlen}"
        self._run("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", str(guest))
        self._run("ip", "address", "add", address, "dev", _LINK)
        self._run("ip", "link", "set", _LINK, "up")

    def serve(self) -> None:
        """Start DHCP and DNS, as a user without files or rights of its own."""
        rights = "+net_bind_service,+net_admin,+net_raw"
        self._start(
            *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"),
            *(
                "--inh-caps",
                f"-all,{rights}",
                "--ambient-caps",
                f"-all,{rights}",
                "--bounding-set",
                f"-all,{rights}",
            ),
            *("--pdeathsig", "KILL", "dnsmasq", *self._dnsmasq_options()),
        )

    def _dnsmasq_options(self) -> list[str]:
        spec = self._spec
        return [
            *(
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--log-facility=-",
                "--no-hosts",
                "--pid-file=",
            ),
            *(
                "--user=",
                "--group=",
                f"--interface={_LINK}",
                "--bind-dynamic",
                "--no-ping",
                "--dhcp-authoritative",
            ),
            *("--leasefile-ro", f"--dhcp-range={spec.address},{spec.address},1h"),
            *(
                f"--dhcp-option=option:router,{spec.gateway}",
                f"--dhcp-option=option:dns-server,{spec.gateway}",
            ),
        ]

    def stop(self) -> None:
        """End the programs and let the namespace go."""
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(2)
                continue
            program.kill()
            program.wait()
        os.close(self.namespace)

    def _enter(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--net=/proc/self/fd/{self.namespace}", "--", *command]

    def _start(self, *command: str) -> None:
        self._programs.append(subprocess.Popen(self._enter(command), pass_fds=[self.namespace]))

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            self._enter(command),
            pass_fds=[self.namespace],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        if done.returncode:
            raise NetworkError(f"gateway of guest {self._spec.name}: {' '.join(command)}: {done.stderr.strip()}")
