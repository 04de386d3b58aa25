"""A relay's udp forward among nat rules that come and go: run in a network namespace of its own by test_stale_flows.py.

Prints, as JSON, who answered a client that goes on sending from before the rule is there, for each family.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time

from portchain.guest.services.vpnkit_forwarder.stale_flows import StaleFlows
from portchain.host.relay.udp_forwards import UdpForwards
from portchain.net.listening import open_listener
from portchain.net.loop import Loop
from portchain.ports.forward import Endpoint
from portchain.protocol.handoff import Listen
from support.local_lender import LocalLender

PUBLISHED, FIRST, SECOND, OWN = 7000, 7001, 7002, 7003
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
IPTABLES = {4: "iptables", 6: "ip6tables"}
PAUSE = 0.02


def bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def rule(version: int, do: str, dialled: int, port: int) -> None:
    words = ("-p", "udp", "--dport", str(dialled), "-j", "DNAT", "--to-destination", f":{port}")
    subprocess.run([IPTABLES[version], "-t", "nat", do, "OUTPUT", *words], check=True)


class Stage:
    """A client of ``port``, the relay between, and servers that answer with their own port, or say nothing."""

    def __init__(self, version: int, port: int) -> None:
        self._version = version
        self._address = LOOPBACK[version]
        self._servers: dict[int, socket.socket] = {}
        self._loop = Loop()
        self._lender = LocalLender()
        self._stale_flows = StaleFlows()
        self._forwards = UdpForwards(self._loop, self._lender, lambda: None)  # type: ignore[arg-type]
        listener = open_listener(Endpoint("udp", self._address, 0), os.getuid())
        self._client = bound(self._address, 0)
        self._client.connect(listener.getsockname())
        self._forwards.listen(Listen("udp::1", str(Endpoint("udp", self._address, port))), listener.detach())
        self._forwards.serve()
        self.peers: set[int] = set()

    def serve(self, *ports: int) -> None:
        for port in ports:
            self._servers[port] = bound(self._address, port)

    def end(self, port: int) -> None:
        self._servers.pop(port).close()

    def rule(self, do: str, port: int) -> None:
        rule(self._version, do, PUBLISHED, port)

    def talk(self, seconds: float) -> str:
        """Who answered last while the client sent on."""
        until, answer = time.monotonic() + seconds, ""
        while time.monotonic() < until:
            self._client.send(b"hello")
            self._loop.run_once(PAUSE)
            for port, server in self._servers.items():
                while select.select([server], [], [], 0)[0]:
                    _, peer = server.recvfrom(100)
                    self.peers.add(peer[1])
                    if port in (FIRST, SECOND):
                        server.sendto(str(port).encode(), peer)
            self._loop.run_once(PAUSE)
            while self._lender.unanswered:
                self._stale_flows.check(self._lender.unanswered.pop())
            while select.select([self._client], [], [], 0)[0]:
                answer = self._client.recv(100).decode()
        return answer


def published(version: int) -> list[str]:
    """Who answers: nobody there, one that takes all in, a rule past it, a server gone and a rule to another one."""
    stage = Stage(version, PUBLISHED)
    seen = [stage.talk(0.3)]
    stage.serve(PUBLISHED, FIRST)
    seen.append(stage.talk(0.3))
    stage.rule("-A", FIRST)
    seen.append(stage.talk(2))
    stage.end(FIRST)
    stage.rule("-D", FIRST)
    stage.serve(SECOND)
    stage.rule("-A", SECOND)
    seen.append(stage.talk(2))
    stage.rule("-D", SECOND)
    return seen


def own(version: int) -> int:
    """How many sources a server of the guest's own sees that never answers."""
    stage = Stage(version, OWN)
    stage.serve(PUBLISHED, OWN)
    stage.talk(2)
    return len(stage.peers)


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for version in LOOPBACK:  # conntrack is at work from the first rule on
        rule(version, "-A", 1, 1)
    print(json.dumps({each: published(each) for each in LOOPBACK} | {"own": own(4)}))
