"""A guest between two others, its packet filter and real packets: run in a network namespace by test_packet_filter.py.

Reads cases from standard input (as JSON, see `Case`), prints for each what the kernel made of its packets.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypedDict

PORTS = (80, 81, 82, 83)
# Source ports tell packets apart, so none is used twice.
FIRST_SOURCE_PORT = 20_000
NEIGHBOURS = {"one": 1, "two": 2}
DEADLINE = 10.0
IN_FLIGHT = 0.05
_ANSWER = "answer\n"
_MAC = "02:00:00:00:{:02x}:{:02x}"


class Probe(NamedTuple):
    """A packet: made in the guest (``at`` is guest) or by a neighbour (one, two)."""

    at: str
    protocol: str
    source: str
    destination: str
    port: int


class Case(TypedDict):
    """Rules for ``iptables-restore``, ``ip6tables-restore`` and ``nft -f``, and what is sent through them."""

    rules: dict[str, str]
    probes: list[list[Any]]


def run(command: str, text: str = "") -> str:
    done = subprocess.run(
        command, shell=True, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}\n{text}")
    return done.stdout


def settings(lines: Iterable[str]) -> None:
    for line in lines:
        run(f"sysctl --quiet --write net.{line}")


def furnish(number: int, device: str, end: int) -> None:
    """One end of the wire to a neighbour: 10.number.0.end, and the same for IPv6."""
    other = 3 - end
    run(f"ip link set {device} address {_MAC.format(number, end)} addrgenmode none; ip link set {device} up")
    settings(f"ipv4.conf.{device}.{name}=1" for name in ("route_localnet", "accept_local"))
    settings([f"ipv4.conf.{device}.rp_filter=0"])
    run(f"ip address add 10.{number}.0.{end}/24 dev {device}; ip address add fd0{number}::{end}/64 dev {device} nodad")
    for address in (f"10.{number}.0.{other}", f"fd0{number}::{other}"):
        run(f"ip neighbour add {address} lladdr {_MAC.format(number, other)} dev {device} nud permanent")


class Ears:
    """Hears what is delivered in a namespace, served or not."""

    def __init__(self) -> None:
        kinds = itertools.product((socket.AF_INET, socket.AF_INET6), (socket.IPPROTO_TCP, socket.IPPROTO_UDP))
        self._raw = [socket.socket(family, socket.SOCK_RAW, protocol) for family, protocol in kinds]
        for one in self._raw:
            if one.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        # With a socket there, nobody answers that a port is closed: an answer would count in rules.
        self._taking = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in PORTS]
        for one, port in zip(self._taking, PORTS, strict=True):
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            one.bind(("::", port))
        self._unanswered: list[tuple[socket.socket, bytes, Any]] = []

    def heard(self) -> dict[int, list[Any]]:
        """By source port: source, destination and its port."""
        found = {}
        while ready := select.select(self._raw, [], [], 0)[0]:
            for one in ready:
                data, notes, _, sender = one.recvmsg(2048, 256)
                if one.family == socket.AF_INET:
                    to, data = socket.inet_ntop(socket.AF_INET, data[16:20]), data[(data[0] & 15) * 4 :]
                else:
                    to = socket.inet_ntop(socket.AF_INET6, notes[0][2][:16])
                source_port, port = struct.unpack("!HH", data[:4])
                if source_port >= FIRST_SOURCE_PORT and port in PORTS:
                    found[source_port] = [sender[0], to, port]
        for one in self._taking:
            with contextlib.suppress(BlockingIOError):
                while True:
                    _, notes, _, sender = one.recvmsg(16, 256, socket.MSG_DONTWAIT)
                    self._unanswered.append((one, notes[0][2], sender))
        return found

    def answer(self) -> None:
        """Answer each datagram that was heard, from where it was sent to."""
        for one, place, sender in self._unanswered:
            with contextlib.suppress(OSError):
                one.sendmsg([b"y"], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, place)], 0, sender)
        self._unanswered = []


def send(probe: Probe, source_port: int) -> socket.socket:
    """Sends it; a socket that wants closing once the packet is there."""
    family = socket.AF_INET6 if ":" in probe.source else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM)
    one.setblocking(False)
    one.bind((probe.source, source_port))
    with contextlib.suppress(OSError):
        if probe.protocol == "tcp":
            one.connect((probe.destination, probe.port))
        else:
            one.sendto(b"x", (probe.destination, probe.port))
    return one


def neighbour(name: str) -> None:
    """A neighbour: sends what standard input tells, and tells what it heard; or answers it."""
    print("here", flush=True)
    sys.stdin.readline()
    number = NEIGHBOURS[name]
    settings(["ipv4.conf.all.rp_filter=0", "ipv4.conf.all.accept_local=1"])
    furnish(number, "eth0", 2)
    run("ip link set lo up")
    run(f"ip route add default via 10.{number}.0.1; ip -6 route add default via fd0{number}::1")
    for tool in ("iptables", "ip6tables"):
        run(f"{tool} -A OUTPUT -p tcp --tcp-flags RST RST -j DROP")
    ears = Ears()
    print("ready", flush=True)
    for line in sys.stdin:
        if line == _ANSWER:
            ears.answer()
            print("answered", flush=True)
            continue
        open_ones = [send(Probe(*fields), port) for fields, port in json.loads(line)]
        time.sleep(IN_FLIGHT)
        for one in open_ones:
            one.close()
        print(json.dumps(ears.heard()), flush=True)


class Stage:
    """The guest's end of it."""

    def __init__(self, neighbours: dict[str, subprocess.Popen[str]]) -> None:
        self._neighbours = neighbours
        settings(["ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1"])
        settings(f"ipv4.conf.all.{name}" for name in ("rp_filter=0", "accept_local=1", "route_localnet=1"))
        # A packet that leaves by where it came in is none to tell its sender of: that counts in rules.
        settings(["ipv4.icmp_ratelimit=0", "ipv4.conf.all.send_redirects=0", "ipv4.conf.default.send_redirects=0"])
        run("ip link set lo up")
        for name, number in NEIGHBOURS.items():
            process = neighbours[name]
            self._answer(name)
            run(f"ip link add {name}0 type veth peer name eth0 netns {process.pid}")
            furnish(number, f"{name}0", 1)
            self._tell(name, "")
            self._answer(name)
        self._ears = Ears()
        self._kept: dict[int, socket.socket] = {}
        self._ports = itertools.count(FIRST_SOURCE_PORT)

    def _tell(self, name: str, line: str) -> None:
        pipe = self._neighbours[name].stdin
        assert pipe
        pipe.write(f"{line}\n")
        pipe.flush()

    def _answer(self, name: str) -> str:
        pipe = self._neighbours[name].stdout
        assert pipe
        if not select.select([pipe], [], [], DEADLINE)[0]:
            raise RuntimeError(f"{name} did not answer within {DEADLINE} s")
        return pipe.readline()

    def play(self, case: Case) -> dict[str, Any]:
        """What became of each probe, and the rules with their counters after the datagrams.

        ``answered`` are the numbers of the guest's own datagrams to whose socket the neighbours' answer came.
        """
        self._load(case["rules"])
        probes = [Probe(*fields) for fields in case["probes"]]
        outcomes: dict[int, Any] = {}
        datagrams = [n for n, one in enumerate(probes) if one.protocol == "udp"]
        outcomes.update(self._send(probes, datagrams))
        told = {
            "iptables": run("iptables-save -c"),
            "ip6tables": run("ip6tables-save -c"),
            "nft": run("nft --json list ruleset") if "nft" in case["rules"] else "",
        }
        answered = self._answered()
        outcomes.update(self._send(probes, [n for n in range(len(probes)) if n not in datagrams]))
        self._close()
        return {**told, "outcomes": [outcomes.get(n) for n in range(len(probes))], "answered": answered}

    def _answered(self) -> list[int]:
        for name in self._neighbours:
            self._tell(name, _ANSWER.strip())
            self._answer(name)
        time.sleep(IN_FLIGHT)
        found = [number for number, one in self._kept.items() if select.select([one], [], [], 0)[0]]
        self._close()
        return found

    def _close(self) -> None:
        for one in self._kept.values():
            one.close()

    def _load(self, rules: dict[str, str]) -> None:
        run("nft flush ruleset")
        for tool in ("iptables", "ip6tables"):
            if tool in rules:
                run(f"{tool}-restore", rules[tool])
        if "nft" in rules:
            run("nft -f -", rules["nft"])

    def _send(self, probes: list[Probe], numbers: list[int]) -> Iterator[tuple[int, Any]]:
        """Of each probe that arrived: its number, where, source, destination and its port."""
        ports = dict(zip(self._ports, numbers, strict=False))
        self._kept = {n: send(probes[n], port) for port, n in ports.items() if probes[n].at == "guest"}
        for name in self._neighbours:
            theirs = [(probes[number], port) for port, number in ports.items() if probes[number].at == name]
            self._tell(name, json.dumps(theirs))
        heard = [(name, json.loads(self._answer(name))) for name in self._neighbours]
        time.sleep(IN_FLIGHT)
        # The first to be asked may have been asked too early for what the other one sent.
        for name in self._neighbours:
            self._tell(name, "[]")
            heard.append((name, json.loads(self._answer(name))))
        heard.append(("guest", self._ears.heard()))
        for name, packets in heard:
            for port, what in packets.items():
                if int(port) in ports:
                    yield ports[int(port)], [name, *what]


def main() -> None:
    """One line of output for each case."""
    with contextlib.ExitStack() as stack:
        neighbours = {}
        for name in NEIGHBOURS:
            command = ["unshare", "--net", sys.executable, __file__, name]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            neighbours[name] = stack.enter_context(process)
            stack.callback(process.kill)
        stage = Stage(neighbours)
        for case in json.load(sys.stdin):
            print(json.dumps(stage.play(case)), flush=True)


if __name__ == "__main__":
    neighbour(sys.argv[1]) if sys.argv[1:] else main()
