"""host.docker.internal: relay connections and datagrams for the gateway's address to the host's loopback.

Usage: python3 -m portchain.host.drivers.namespace.gateway GUEST GATEWAY FOLDER LISTENER TPROXY RAW NAMES NAMES_UDP
FOLDER has the guest's files of allowed ports and of name servers, which are read again when they change. The others
are descriptors of sockets in the gateway's namespace. LISTENER is a TCP listener to which all connections to the
gateway's address are redirected. TPROXY and RAW are what `gateway_udp.open_sockets` returned. NAMES and NAMES_UDP are
bound to `name_relay.ADDRESS`, for the host's name servers. The program itself runs in the host's network, as nobody.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from select import EPOLLIN

from ....linux.descriptor_limit import raise_descriptor_limit
from ....net.dialling import OUT_OF_RESOURCES, PAUSE_SECONDS, Dial, Dialling
from ....net.loop import Loop
from ....net.relay import Meter, Relay, reset
from ....net.socket_address import socket_address
from ....ports.forward import Endpoint
from ...guest_spec import HOST_ACCESS_FILE, RESOLUTION_FILE
from ...host_access import HostAccess
from .gateway_udp import HostAccessDatagrams
from .name_relay import DNS, NameRelay
from .resolution_file import ResolutionFile

MAX_DESCRIPTORS = 20_000
SILENCE_SECONDS = 60.0
_SO_ORIGINAL_DST = 80
_SOCKADDR_IN = struct.Struct("!2xH4s8x")


def log(text: str) -> None:
    """Write one line to the supervisor's log."""
    print(text, file=sys.stderr, flush=True)


class HostAccessFile:
    """The allowed ports in their file; while it cannot be read, none is allowed."""

    def __init__(self, path: Path, guest: str) -> None:
        self._path = path
        self._guest = guest
        self._stamp: object = None
        self._policy = HostAccess()

    def current(self) -> HostAccess:
        """Return the policy; read the file again if it has changed."""
        try:
            status = self._path.stat()
            if self._stamp != (status.st_ino, status.st_mtime_ns):
                self._stamp = status.st_ino, status.st_mtime_ns
                self._policy = HostAccess()
                self._policy = HostAccess.load(self._path.read_text())
        except (OSError, ValueError) as error:
            self._policy = HostAccess()
            log(f"guest {self._guest}: no port of the host is allowed, for {self._path} cannot be read: {error}")
        return self._policy


@dataclass
class AccessPolicy:
    """Decides which ports of the host the guest may reach; logs a refusal once per port in `SILENCE_SECONDS`."""

    guest: str
    policy: HostAccessFile
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._logged: dict[int, float] = {}

    def allows(self, port: int, what: str = "connection") -> bool:
        """Return whether ``port`` may be reached now; log the refusal of a ``what`` if not."""
        policy = self.policy.current()
        if policy.allows(port):
            return True
        now = self.clock()
        if now - self._logged.get(port, -SILENCE_SECONDS) >= SILENCE_SECONDS:
            self._logged[port] = now
            log(f"guest {self.guest}: a {what} to host port {port} is refused: guest_host_access allows {policy}")
        return False


def original_destination(client: socket.socket) -> tuple[str, int]:
    """Return the address and port that a redirected connection was made to; raise OSError."""
    raw = client.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, _SOCKADDR_IN.size)
    port, address = _SOCKADDR_IN.unpack(raw)
    return socket.inet_ntoa(address), port


class GatewayAcceptor:
    """Accepts connections on ``listener`` and relays each to the first endpoint of ``targets(client)`` that answers."""

    def __init__(self, loop: Loop, listener: socket.socket, targets: Callable[[socket.socket], list[Endpoint]]) -> None:
        self._loop = loop
        self._listener = listener
        self._targets = targets
        listener.setblocking(False)
        self._resume()

    def _resume(self) -> None:
        self._loop.watch(self._listener.fileno(), EPOLLIN, self._accept)

    def _accept(self, _: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                self.no_room()
            return
        client.setblocking(False)
        if targets := self._targets(client):
            Dial(self._loop, client, [socket_address(target) for target in targets], self).start()
        else:
            reset(client)
            client.close()

    def connected(self, dial: Dialling, target: socket.socket) -> None:
        """Relay between the client and the host's server."""
        Relay(self._loop, dial.client, target, (Meter(), Meter()), lambda _: None)

    def failed(self, dial: Dialling, reason: str) -> None:
        """Do nothing: no target answered, and the client was reset."""

    def no_room(self) -> None:
        """Stop accepting for a moment, because descriptors are short; clients wait in the backlog."""
        self._loop.forget(self._listener.fileno())
        self._loop.later(PAUSE_SECONDS, self._resume)


def loopback_targets(client: socket.socket, gateway: str, access_policy: AccessPolicy) -> list[Endpoint]:
    """Return the endpoints on the host's loopback for a client of ``gateway``'s address; none if it is refused."""
    try:
        address, port = original_destination(client)
    except OSError:
        return []
    if address != gateway or not access_policy.allows(port):
        return []
    return [Endpoint("tcp", loopback, port) for loopback in ("127.0.0.1", "::1")]


def main() -> int:
    """Relay until killed."""
    if len(sys.argv) != 9:
        print(__doc__, file=sys.stderr)
        return 2
    guest, gateway, folder, *descriptors = sys.argv[1:]
    raise_descriptor_limit(MAX_DESCRIPTORS)
    loop = Loop()
    listener, tproxy, raw, names, names_udp = (socket.socket(fileno=int(descriptor)) for descriptor in descriptors)
    access_policy = AccessPolicy(guest, HostAccessFile(Path(folder, HOST_ACCESS_FILE), guest))
    GatewayAcceptor(loop, listener, lambda client: loopback_targets(client, gateway, access_policy))
    HostAccessDatagrams(loop, tproxy, raw, lambda port: access_policy.allows(port, "datagram"))
    resolution = ResolutionFile(Path(folder, RESOLUTION_FILE))
    GatewayAcceptor(loop, names, lambda _: [Endpoint("tcp", server, DNS) for server in resolution.name_servers()])
    NameRelay(loop, names_udp, resolution.name_servers)
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
