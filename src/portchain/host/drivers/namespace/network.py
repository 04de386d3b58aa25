"""The guest's network: a private gateway namespace, a veth pair into the guest, and the gateway's programs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ....linux import syscalls
from ....net.socket_address import keep_alive
from ....protocol.names import GUEST_NAMES, HOST_NAMES
from ...guest_spec import UPLINK_NETWORK, GuestSpec
from ...name_resolution import dns_servers, hosts_for_guest
from . import gateway_udp, name_relay
from .sidecars import Sidecars

_LINK = "guest0"
# The same at each boot, so that a guest that was killed gets the same lease again.
_GUEST_MAC = "02:50:00:00:00:01"
_UPLINK = "uplink"
_UPLINK_GATEWAY, _UPLINK_ADDRESS = (str(UPLINK_NETWORK[number]) for number in (1, 2))
_UPLINK_DEADLINE = 3.0
_DNSMASQ_CAPABILITIES = "-all,+net_bind_service,+net_admin"
# With net_admin it makes the interface, then it drops that.
_PASTA_CAPABILITIES = "-all,+sys_admin,+net_admin,+net_bind_service"
_CHRONYD, _CHRONYD_CAPABILITIES = "usr/sbin/chronyd", "-all,+net_bind_service"
_HOSTS = Path("/etc/hosts")
_BACKLOG = 1024
_MAX_TCP_CLIENTS = 200  # of the name server at a time; it forks for each
_IP_FREEBIND = 15


class NetworkError(Exception):
    """The gateway cannot be set up; the message names the command that failed."""


class Gateway:
    """The gateway namespace of one guest and its programs. Nothing is changed in the host's network namespace."""

    def __init__(self, spec: GuestSpec) -> None:
        self._spec = spec
        self._programs = Sidecars(spec.name)
        self._hosts = ""
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._run("ip", "link", "set", "lo", "up")
            to_loopback = _listen((spec.gateway, 0)), *gateway_udp.open_sockets(spec.gateway)
            to_name_servers = _listen(name_relay.ADDRESS), _bind(socket.SOCK_DGRAM, name_relay.ADDRESS)
            self._to_host = *to_loopback, *to_name_servers
            syscalls.setns(own, syscalls.CLONE_NEWNET)
        finally:
            os.close(own)

    def connect(self, guest: int) -> None:
        """Make eth0 in the network namespace of process ``guest``, and give the gateway's end its address.

        The network of a guest that has ended, and the link to it, may last as long as a connection into it.
        """
        if _LINK in self._run("ip", "-brief", "link"):
            self._run("ip", "link", "delete", _LINK)
        address = f"{self._spec.gateway}/{self._spec.network.prefixlen}"
        peer = ("name", "eth0", "address", _GUEST_MAC, "netns", str(guest))
        self._run("ip", "link", "add", _LINK, "type", "veth", "peer", *peer)
        self._run("ip", "address", "add", address, "dev", _LINK)
        self._run("ip", "link", "set", _LINK, "up")

    def serve(self) -> None:
        """Start DHCP, DNS and NTP, the relay to the host, and the uplink if the guest is to have one."""
        # Without an uplink too, so that packets with no route are answered as unreachable, rather than dropped.
        self._run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        if self._spec.uplink:
            self._open_uplink()
        self._refresh_hosts()
        dnsmasq = (*_as_nobody(_DNSMASQ_CAPABILITIES), "dnsmasq", *self._dnsmasq_options())
        self._programs.start("dnsmasq", self._enter(dnsmasq), [self.namespace])
        self._serve_time()
        self._start_host_relay()

    def maintain(self) -> None:
        """Restart programs that ended, and apply changes of the host's /etc/hosts."""
        self._programs.restart_ended()
        if self._refresh_hosts():
            self._programs.signal("dnsmasq", signal.SIGHUP)

    def _serve_time(self) -> None:
        """Start chronyd from the image that has it; it serves the host's time and sets no clock."""
        image = next((path for path in self._spec.images.values() if (Path(path) / _CHRONYD).exists()), None)
        if image is None:
            return
        # Visible in the supervisor's mount namespace only.
        syscalls.mount("chronyd", Path(image) / "run", "tmpfs", 0, "mode=1777,size=64k")
        directives = (
            *("local stratum 10", f"allow {self._spec.subnet}", f"bindaddress {self._spec.gateway}"),
            *("cmdport 0", "bindcmdaddress /", "pidfile /run/chronyd.pid"),
        )
        chronyd = (f"/{_CHRONYD}", "-d", "-x", "-U", "-u", "root", *directives)
        command = self._enter(("chroot", image, *_as_nobody(_CHRONYD_CAPABILITIES), *chronyd))
        self._programs.start("chronyd", command, [self.namespace])

    @property
    def _hosts_file(self) -> Path:
        return Path(self._spec.run_dir) / "hosts"

    @property
    def _servers_file(self) -> Path:
        return Path(self._spec.run_dir) / "dns-servers"

    def _refresh_hosts(self) -> bool:
        """Write the names that dnsmasq answers; return whether they changed."""
        hosts = hosts_for_guest(_read(_HOSTS), self._spec.gateway)
        if hosts == self._hosts and self._hosts_file.exists():
            return False
        self._hosts = hosts
        self._servers_file.write_text(dns_servers(hosts, name_relay.ADDRESS[0] if self._spec.uplink else ""))
        self._hosts_file.write_text(hosts)
        return True

    def _start_host_relay(self) -> None:
        """Redirect the gateway's ports, except DNS, DHCP and NTP, to the relay, a program in the host's network."""
        gateway = self._spec.gateway
        tcp, udp = (str(sock.getsockname()[1]) for sock in self._to_host[:2])
        to_gateway = ("PREROUTING", "-i", _LINK, "-d", gateway)
        connections = (*to_gateway, "-p", "tcp", "!", "--dport", "53")
        datagrams = (*to_gateway, "-p", "udp", "-m", "multiport", "!", "--dports", "53,67,123")
        self._run("iptables", "-t", "nat", "-A", *connections, "-j", "REDIRECT", "--to-ports", tcp)
        self._run("iptables", "-t", "mangle", "-A", *datagrams, "-j", "TPROXY", "--on-ip", gateway, "--on-port", udp)
        descriptors = [sock.fileno() for sock in self._to_host]
        arguments = (self._spec.name, gateway, str(self._spec.folder), *map(str, descriptors))
        program = ("/usr/bin/python3", "-m", "portchain.host.drivers.namespace.gateway", *arguments)
        self._programs.start("host access", (*_as_nobody("-all"), *program), descriptors)

    def _dnsmasq_options(self) -> list[str]:
        spec = self._spec
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
            *("--no-resolv", f"--servers-file={self._servers_file}"),
            *(f"--dns-forward-max={name_relay.MAX_QUERIES}", f"--max-tcp-connections={_MAX_TCP_CLIENTS}"),
            f"--host-record={','.join(HOST_NAMES)},{spec.gateway}",
            f"--host-record={','.join(GUEST_NAMES)},{spec.address}",
        ]

    def _open_uplink(self) -> None:
        """Start pasta, which gives the gateway an interface to the outside, and masquerade the guest there."""
        namespace = Path(self._spec.run_dir) / "gateway.netns"
        namespace.touch()
        syscalls.mount(f"/proc/self/fd/{self.namespace}", namespace, "", syscalls.MS_BIND)
        pasta = self._programs.start(
            "pasta",
            [
                *("setpriv", "--bounding-set", _PASTA_CAPABILITIES, "--no-new-privs", "--pdeathsig", "KILL"),
                *("pasta", "--foreground", "--quiet", "--runas", "0"),
                *("--netns-only", "--netns", str(namespace), "--config-net", "--ipv4-only", "--ns-ifname", _UPLINK),
                *("--address", _UPLINK_ADDRESS, "--netmask", "24", "--gateway", _UPLINK_GATEWAY, "--no-map-gw"),
                *("--dns", "none", "--no-dhcp", "-t", "none", "-u", "none", "-T", "none", "-U", "none"),
            ],
        )
        end = time.monotonic() + _UPLINK_DEADLINE
        while _UPLINK_ADDRESS not in self._run("ip", "-brief", "address"):
            if pasta.poll() is not None or time.monotonic() > end:
                print(
                    f"guest {self._spec.name}: no uplink: pasta found no network on the host",
                    file=sys.stderr,
                    flush=True,
                )
                self._programs.end("pasta")
                return
            time.sleep(0.01)
        self._run("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", _UPLINK, "-j", "MASQUERADE")
        # pasta of 2023 announces a changed window by a segment without flags. conntrack takes it for invalid, so it
        # would not be translated back, and the gateway's own TCP would reset the guest's connection.
        self._run("iptables", "-A", "INPUT", "-i", _UPLINK, "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")

    def stop(self) -> None:
        """End the programs and release the namespace."""
        self._programs.stop()
        for sock in self._to_host:
            sock.close()
        for path in (self._hosts_file, self._servers_file):
            path.unlink(missing_ok=True)
        os.close(self.namespace)
        namespace = Path(self._spec.run_dir) / "gateway.netns"
        if namespace.exists():
            with contextlib.suppress(OSError):
                syscalls.unmount(namespace)
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


def _as_nobody(capabilities: str) -> tuple[str, ...]:
    """Return the beginning of a command that runs as nobody with these capabilities only."""
    capability_sets = ("--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities)
    nobody = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    return ("setpriv", *nobody, *capability_sets, "--no-new-privs", "--pdeathsig", "KILL")


def _bind(kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
    """Bind a socket to ``address`` in the caller's namespace, even if no interface has the address yet."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    sock.bind(address)
    return sock


def _listen(address: tuple[str, int]) -> socket.socket:
    listener = _bind(socket.SOCK_STREAM, address)
    keep_alive(listener)
    listener.listen(_BACKLOG)
    return listener


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
