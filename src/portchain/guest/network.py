"""The guest's network: a private gateway namespace, a veth pair into the guest, and what the gateway serves."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ..forwarder.address import keep_alive
from . import host_access_udp, kernel
from .host_names import hosts_for_guest, nameservers
from .programs import Programs
from .spec import GuestSpec

_LINK = "guest0"
# The same at each boot, so that a guest that was not shut down in good order finds its lease again.
_GUEST_MAC = "02:50:00:00:00:01"
_UPLINK = "uplink"
_UPLINK_ADDRESS, _UPLINK_GATEWAY, _UPLINK_DNS = "192.168.66.2", "192.168.66.1", "192.168.66.3"
_UPLINK_DEADLINE = 3.0
_DNSMASQ_RIGHTS = "-all,+net_bind_service,+net_admin,+net_raw"
_CHRONYD, _CHRONYD_RIGHTS = "usr/sbin/chronyd", "-all,+net_bind_service"
_HOSTS, _RESOLV_CONF = Path("/etc/hosts"), Path("/etc/resolv.conf")
_BACKLOG = 1024
_IP_FREEBIND = 15


class NetworkError(Exception):
    """The gateway cannot be set up; the message says what failed."""


class Gateway:
    """The gateway namespace of one guest and the programs in it. Nothing appears in the host's own namespace."""

    def __init__(self, spec: GuestSpec) -> None:
        self._spec = spec
        self._programs = Programs(spec.name)
        self._hosts = ""
        self._resolvers = nameservers(_read(_RESOLV_CONF))
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._to_host = self._listen(), *host_access_udp.open_sockets(spec.gateway)
            kernel.setns(own, kernel.CLONE_NEWNET)
        finally:
            os.close(own)
        self._run("ip", "link", "set", "lo", "up")

    def _listen(self) -> socket.socket:
        """Listen, in the caller's namespace, for what the guest sends to the gateway's address."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        keep_alive(listener)
        listener.bind((self._spec.gateway, 0))
        listener.listen(_BACKLOG)
        return listener

    def connect(self, guest: int) -> None:
        """Give the network namespace of process ``guest`` its eth0, and address the gateway's end of it."""
        address = f"{self._spec.gateway}/{self._spec.network.prefixlen}"
        peer = ("name", "eth0", "address", _GUEST_MAC, "netns", str(guest))
        self._run("ip", "link", "add", _LINK, "type", "veth", "peer", *peer)
        self._run("ip", "address", "add", address, "dev", _LINK)
        self._run("ip", "link", "set", _LINK, "up")

    def serve(self) -> None:
        """Start DHCP and DNS, the way to the host, and the one to the outside where it is wanted and there is one."""
        # Without an uplink too: what leads nowhere is then answered as unreachable, rather than swallowed.
        self._run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        upstream = ["--no-resolv"]
        if self._spec.uplink and self._open_uplink():
            upstream.append(f"--server={_UPLINK_DNS}")
        self._refresh_hosts()
        dnsmasq = (*_as_nobody(_DNSMASQ_RIGHTS), "dnsmasq", *self._dnsmasq_options(), *upstream)
        self._programs.start("dnsmasq", self._enter(dnsmasq), [self.namespace])
        self._serve_time()
        self._lead_to_host()

    def tend(self) -> None:
        """Start again what ended, and take over what changed in the host's /etc/hosts and /etc/resolv.conf."""
        self._programs.tend()
        if self._refresh_hosts():
            self._programs.signal("dnsmasq", signal.SIGHUP)
        resolvers = nameservers(_read(_RESOLV_CONF))
        if resolvers != self._resolvers:
            self._resolvers = resolvers
            self._programs.signal("pasta", signal.SIGTERM)  # it reads them when it starts

    def _serve_time(self) -> None:
        """Start chronyd out of the image that has it, the host having a time daemon of its own; it sets no clock."""
        image = next((path for path in self._spec.images.values() if (Path(path) / _CHRONYD).exists()), None)
        if image is None:
            return
        # Seen in the supervisor's mount namespace alone.
        kernel.mount("chronyd", Path(image) / "run", "tmpfs", 0, "mode=1777,size=64k")
        directives = (
            *("local stratum 10", f"allow {self._spec.subnet}", f"bindaddress {self._spec.gateway}"),
            *("cmdport 0", "bindcmdaddress /", "pidfile /run/chronyd.pid"),
        )
        chronyd = (f"/{_CHRONYD}", "-d", "-x", "-U", "-u", "root", *directives)
        command = self._enter(("chroot", image, *_as_nobody(_CHRONYD_RIGHTS), *chronyd))
        self._programs.start("chronyd", command, [self.namespace])

    @property
    def _hosts_file(self) -> Path:
        return Path(self._spec.run_dir) / "hosts"

    def _refresh_hosts(self) -> bool:
        """Write the names that dnsmasq answers; returns whether they changed."""
        hosts = hosts_for_guest(_read(_HOSTS), self._spec.gateway)
        if hosts == self._hosts and self._hosts_file.exists():
            return False
        self._hosts = hosts
        self._hosts_file.write_text(hosts)
        return True

    def _lead_to_host(self) -> None:
        """Redirect the gateway's ports, its own DNS, DHCP and time apart, to a program in the host's network."""
        gateway = self._spec.gateway
        tcp, udp = (str(sock.getsockname()[1]) for sock in self._to_host[:2])
        sent_here = ("PREROUTING", "-i", _LINK, "-d", gateway)
        connections = (*sent_here, "-p", "tcp", "!", "--dport", "53")
        datagrams = (*sent_here, "-p", "udp", "-m", "multiport", "!", "--dports", "53,67,123")
        self._run("iptables", "-t", "nat", "-A", *connections, "-j", "REDIRECT", "--to-ports", tcp)
        self._run("iptables", "-t", "mangle", "-A", *datagrams, "-j", "TPROXY", "--on-ip", gateway, "--on-port", udp)
        descriptors = [sock.fileno() for sock in self._to_host]
        arguments = (self._spec.name, gateway, _UPLINK_DNS, str(self._spec.host_access_file), *map(str, descriptors))
        program = ("/usr/bin/python3", "-m", "portchain.guest.host_access", *arguments)
        self._programs.start("host access", (*_as_nobody("-all"), *program), descriptors)

    def _dnsmasq_options(self) -> list[str]:
        spec = self._spec
        names = ("host.docker.internal", "gateway.docker.internal", spec.gateway)
        return [
            *(
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--log-facility=-",
                "--pid-file=",
                "--user=",
                "--group=",
            ),
            *(f"--interface={_LINK}", "--bind-dynamic", "--no-ping", "--dhcp-authoritative"),
            *("--leasefile-ro", f"--dhcp-range={spec.address},{spec.address},1h"),
            *(f"--dhcp-option=option:router,{spec.gateway}", f"--dhcp-option=option:dns-server,{spec.gateway}"),
            *("--no-hosts", f"--addn-hosts={self._hosts_file}"),
            *("--local=/docker.internal/", f"--host-record={','.join(names)}"),
        ]

    def _open_uplink(self) -> bool:
        """Lead the gateway out through pasta's sockets on the host, translated; False where the host has no way."""
        namespace = Path(self._spec.run_dir) / "gateway.netns"
        namespace.touch()
        kernel.mount(f"/proc/self/fd/{self.namespace}", namespace, "", kernel.MS_BIND)
        pasta = self._programs.start(
            "pasta",
            [
                *("setpriv", "--pdeathsig", "KILL", "pasta", "--foreground", "--quiet", "--runas", "0"),
                *("--netns-only", "--netns", str(namespace), "--config-net", "--ipv4-only", "--ns-ifname", _UPLINK),
                *("--address", _UPLINK_ADDRESS, "--netmask", "24", "--gateway", _UPLINK_GATEWAY, "--no-map-gw"),
                *("--dns-forward", _UPLINK_DNS, "--no-dhcp", "-t", "none", "-u", "none", "-T", "none", "-U", "none"),
            ],
        )
        end = time.monotonic() + _UPLINK_DEADLINE
        while _UPLINK_ADDRESS not in self._run("ip", "-brief", "address"):
            if pasta.poll() is not None or time.monotonic() > end:
                print(f"guest {self._spec.name}: no way to the outside from this host", file=sys.stderr, flush=True)
                self._programs.end("pasta")
                return False
            time.sleep(0.01)
        self._run("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", _UPLINK, "-j", "MASQUERADE")
        # pasta takes care of DNS over UDP alone.
        to_resolver = ("-d", _UPLINK_DNS, "-p", "tcp", "--dport", "53")
        place = f"{self._spec.gateway}:{self._to_host[0].getsockname()[1]}"
        self._run("iptables", "-t", "nat", "-A", "OUTPUT", *to_resolver, "-j", "DNAT", "--to-destination", place)
        return True

    def stop(self) -> None:
        """End the programs and let the namespace go."""
        self._programs.stop()
        for sock in self._to_host:
            sock.close()
        self._hosts_file.unlink(missing_ok=True)
        os.close(self.namespace)
        namespace = Path(self._spec.run_dir) / "gateway.netns"
        if namespace.exists():
            with contextlib.suppress(OSError):
                kernel.unmount(namespace)
            namespace.unlink()

    def _enter(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--net=/proc/self/fd/{self.namespace}", "--", *command]

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            self._enter(command), pass_fds=[self.namespace], capture_output=True, text=True, timeout=10, check=False
        )
        if done.returncode:
            raise NetworkError(f"gateway of guest {self._spec.name}: {' '.join(command)}: {done.stderr.strip()}")
        return done.stdout


def _as_nobody(rights: str) -> tuple[str, ...]:
    """The beginning of a command that runs as nobody with only the capabilities ``rights``."""
    sets = ("--inh-caps", rights, "--ambient-caps", rights, "--bounding-set", rights)
    nobody = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    return ("setpriv", *nobody, *sets, "--no-new-privs", "--pdeathsig", "KILL")


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
