"""host.docker.internal: lead what is sent to the gateway's address to the host's loopback, as the policy allows.

Usage: python3 -m portchain.guest.host_access GUEST GATEWAY RESOLVER POLICY_FILE LISTENER TAKEN ANSWERS
LISTENER is the descriptor of a TCP listener in the gateway's namespace, to which all connections to its address are
redirected, and the gateway's own to RESOLVER, which stands for the host's. TAKEN and ANSWERS are what
`host_access_udp.open_sockets` returned there. The program itself is in the host's network, as nobody.
"""

from __future__ import annotations

import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from select import EPOLLIN

from ..forwarder.address import socket_address
from ..forwarder.dial import NO_ROOM, PAUSE_SECONDS, Dial
from ..forwarder.loop import Loop
from ..forwarder.relay import Meter, Relay, reset
from ..mapping.forward import Endpoint
from .host_access_policy import HostAccess
from .host_access_udp import HostAccessDatagrams
from .host_names import nameservers

MAX_DESCRIPTORS = 20_000
SILENCE_SECONDS = 60.0
_RESOLV_CONF = Path("/etc/resolv.conf")
_DNS = 53
_SO_ORIGINAL_DST = 80
_SOCKADDR_IN = struct.Struct("!2xH4s8x")


def log(text: str) -> None:
    """One line in the supervisor's log."""
    print(text, file=sys.stderr, flush=True)


class PolicyFile:
    """The policy as its file has it now; nothing is allowed while it cannot be read."""

    def __init__(self, path: Path, guest: str) -> None:
        self._path = path
        self._guest = guest
        self._seen: object = None
        self._policy = HostAccess()

    def current(self) -> HostAccess:
        """The policy, read again if the file is another than before."""
        try:
            found = self._path.stat()
            if self._seen != (found.st_ino, found.st_mtime_ns):
                self._seen = found.st_ino, found.st_mtime_ns
                self._policy = HostAccess()
                self._policy = HostAccess.load(self._path.read_text())
        except (OSError, ValueError) as error:
            self._policy = HostAccess()
            log(f"guest {self._guest}: no port of the host is allowed, for {self._path} cannot be read: {error}")
        return self._policy


@dataclass
class Doorkeeper:
    """Says yes or no to each connection or datagram, and why not: for each port once in `SILENCE_SECONDS`."""

    guest: str
    policy: PolicyFile
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._said: dict[int, float] = {}

    def allows(self, port: int, what: str = "connection") -> bool:
        """Whether ``port`` may be reached now."""
        policy = self.policy.current()
        if policy.allows(port):
            return True
        now = self.clock()
        if now - self._said.get(port, -SILENCE_SECONDS) >= SILENCE_SECONDS:
            self._said[port] = now
            log(f"guest {self.guest}: a {what} to host port {port} is refused: guest_host_access allows {policy}")
        return False


def original_destination(client: socket.socket) -> tuple[str, int]:
    """The address and port that a redirected connection was meant for."""
    raw = client.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, _SOCKADDR_IN.size)
    port, address = _SOCKADDR_IN.unpack(raw)
    return socket.inet_ntoa(address), port


class HostAccessServer:
    """Accepts on ``listener`` what was sent to the gateway, and relays to the same port of the host's loopback.

    ``places``: the address of the gateway, and the one that stands for the host's resolver.
    """

    def __init__(self, loop: Loop, listener: socket.socket, places: tuple[str, str], doorkeeper: Doorkeeper) -> None:
        self._loop = loop
        self._listener = listener
        self._gateway, self._resolver = places
        self._doorkeeper = doorkeeper
        listener.setblocking(False)
        self._resume()

    def _resume(self) -> None:
        self._loop.watch(self._listener.fileno(), EPOLLIN, self._accept)

    def _accept(self, _: int) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in NO_ROOM:
                self.no_room()
            return
        client.setblocking(False)
        try:
            address, port = original_destination(client)
        except OSError:
            address, port = "", 0
        servers: list[str] = []
        if (address, port) == (self._resolver, _DNS):
            servers = nameservers(_RESOLV_CONF.read_text() if _RESOLV_CONF.exists() else "")
        elif address == self._gateway and self._doorkeeper.allows(port):
            servers = ["127.0.0.1", "::1"]
        if servers:
            targets = [socket_address(Endpoint("tcp", server, port)) for server in servers]
            Dial(self._loop, client, targets, self).start()
        else:
            reset(client)
            client.close()

    def connected(self, dial: Dial, target: socket.socket) -> None:
        """Relay between the guest and the host's server."""
        Relay(self._loop, dial.client, target, (Meter(), Meter()), lambda _: None)

    def failed(self, dial: Dial, reason: str) -> None:
        """Nobody listens there; the client was reset."""

    def no_room(self) -> None:
        """Out of descriptors: clients wait in the backlog for a moment."""
        self._loop.forget(self._listener.fileno())
        self._loop.later(PAUSE_SECONDS, self._resume)


def main() -> int:
    """Serve for ever."""
    if len(sys.argv) != 8:
        print(__doc__, file=sys.stderr)
        return 2
    guest, gateway, resolver, policy_file, *descriptors = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MAX_DESCRIPTORS),) * 2)
    loop = Loop()
    listener, taken, answers = (socket.socket(fileno=int(descriptor)) for descriptor in descriptors)
    doorkeeper = Doorkeeper(guest, PolicyFile(Path(policy_file), guest))
    HostAccessServer(loop, listener, (gateway, resolver), doorkeeper)
    HostAccessDatagrams(loop, taken, answers, lambda port: doorkeeper.allows(port, "datagram"))
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
