"""A lender that makes its sockets on the spot, in the test's own network."""

from __future__ import annotations

import errno
import socket

from portchain.guest.services.vpnkit_forwarder.vpnkit_forwarder import make_socket
from portchain.ports.forward import Endpoint
from portchain.protocol.lending import Unanswered, kind_of


class LocalLender:
    """Lends ``stock`` sockets; what would be told to the guest is kept in ``unanswered``."""

    connected = True

    def __init__(self, stock: int = 1 << 20) -> None:
        self.stock = stock
        self.unanswered: list[Unanswered] = []

    def count(self, _: Endpoint) -> int:
        return self.stock

    def take(self, protocol: str, family: int) -> socket.socket:
        if not self.stock:
            raise OSError(errno.ENOBUFS, "none left")
        self.stock -= 1
        return make_socket(kind_of(protocol, family))

    def report_unanswered(self, flow: socket.socket, refused: bool) -> None:
        source, target = (Endpoint("udp", *name[:2]) for name in (flow.getsockname(), flow.getpeername()))
        self.unanswered.append(Unanswered(str(source), str(target), int(refused)))
