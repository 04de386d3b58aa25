"""Evaluate a probe: when its packets passed each hop, and which counters moved. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..chain import Chain, Hop, Verdict
from ..model import Flow
from ..parse import iptables
from ..parse.tracked_flows import flows

_SYN, _RESET, _ACK = 0x02, 0x04, 0x10
_UNREACHABLE = (3, 1)  # ICMP's type, and ICMPv6's


@dataclass(frozen=True)
class ProbeClient:
    """The client's side of a probe, with times in nanoseconds since the epoch; ``connected`` is 0 if it was not.

    ``answer`` is end (the server's end of stream, or its datagram), silence, reset or an error's text. ``source`` is
    where it came from, such as ``127.0.0.1:55298``.
    """

    began: int
    connected: int
    ended: int
    answer: str
    bytes: int
    source: str


@dataclass(frozen=True)
class CapturedPacket:
    """A packet as an interface saw it: ``interface`` is its number in the order of the path."""

    interface: int
    time: int
    out: bool
    protocol: str
    source: str
    source_port: int
    destination: str
    port: int
    flags: int


_FIELDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("interface", "time", "source_port", "port", "flags"), int),
    **dict.fromkeys(("protocol", "source", "destination"), str),
    "out": bool,
}


@dataclass(frozen=True)
class CapturedTraffic:
    """The packets and flows that the guest saw; ``moved`` are counters of nat rules that changed, before and after."""

    packets: tuple[CapturedPacket, ...]
    flows: tuple[Flow, ...]
    moved: Mapping[str, tuple[int, int]]


def parse_capture(answer: Mapping[str, Any], before: str) -> CapturedTraffic:
    """Parse the guest's answer to ``caught``; raise ValueError, KeyError, TypeError."""
    packets = tuple(
        CapturedPacket(**{name: kind(row[name]) for name, kind in _FIELDS.items()}) for row in answer["packets"]
    )
    counted, counted_before = _counted(str(answer["counters"])), _counted(before)
    moved = {
        text: (counted_before.get(text, 0), count)
        for text, count in counted.items()
        if count > counted_before.get(text, 0)
    }
    return CapturedTraffic(packets, tuple(flows(str(answer["conntrack"]))), moved)


def _counted(text: str) -> dict[str, int]:
    return {rule.text: rule.packets for chain in iptables.parse(text).chains for rule in chain.rules}


def with_probe(chain: Chain, client: ProbeClient, capture: CapturedTraffic, interfaces: Sequence[str]) -> Chain:
    """Add the probe's times and evidence to a chain; a probe that was lost breaks one that looked whole."""
    marks = _Marks(chain, client, capture, interfaces)
    hops = tuple(marks.hop(hop) for hop in chain.hops)
    result = {
        "answer": client.answer,
        "bytes": client.bytes,
        "connect": _microseconds(client.began, client.connected) if client.connected else None,
        "total": _microseconds(client.began, client.ended),
        "back": _microseconds(marks.last, client.ended) if client.answer in ("end", "reset") else None,
    }
    return replace(chain, hops=hops, probe=result, verdict=chain.verdict or marks.verdict(hops, client))


def _microseconds(begin: int, end: int) -> float:
    return round(max(0, end - begin) / 1000, 1)


class _Marks:
    """The probe's times, assigned to the hops in order."""

    def __init__(self, chain: Chain, client: ProbeClient, capture: CapturedTraffic, interfaces: Sequence[str]) -> None:
        self._client = client
        self._seen = capture
        self._interfaces = interfaces
        self._udp = chain.protocol == "udp"
        self._bridged = 1 if chain.hop("proxy") else 0  # the first interface beyond docker-proxy
        self.last = client.began
        self._sent = [self._first(index) for index in range(len(interfaces))]
        self._answer = self._answered()

    def _first(self, interface: int) -> CapturedPacket | None:
        """Return the first packet of the probe at an interface, on its way to the server."""
        since = (
            packet
            for packet in self._seen.packets
            if packet.interface == interface and packet.time >= self._client.began
        )
        kind = "udp" if self._udp else "tcp"
        for packet in since:
            if packet.protocol == kind and (self._udp or packet.flags & (_SYN | _ACK) == _SYN):
                return packet
        return None

    def _answered(self) -> CapturedPacket | None:
        """Return what the server's side sent back first."""
        last = self._sent[-1]
        if last is None:
            return None
        replies = (
            packet for packet in self._seen.packets if packet.interface == last.interface and packet.time >= last.time
        )
        for packet in replies:
            if packet.protocol == "icmp" and packet.flags in _UNREACHABLE:
                return packet
            if (packet.source_port, packet.port) == (last.port, last.source_port) and packet.out != last.out:
                return packet
        return None

    def hop(self, hop: Hop) -> Hop:
        """Return the hop with its time and what shows that the probe passed."""
        observe = getattr(self, f"_{hop.kind.replace('-', '_')}", None)
        if observe is None or hop.state in ("broken", "skipped"):
            return hop
        when, evidence = observe()
        if not evidence:
            return hop
        if not when:
            return replace(hop, evidence=evidence)
        took = _microseconds(self.last, when)
        self.last = max(self.last, when)
        return replace(hop, microseconds=took, evidence=evidence)

    def _host_socket(self) -> tuple[int, str]:
        client, packet = self._client, self._sent[0]
        if not client.connected:
            return 0, ""
        return min(client.connected, packet.time if packet else client.connected), (
            f"sent from {client.source}" if self._udp else f"took the connection from {client.source}"
        )

    def _forward(self) -> tuple[int, str]:
        packet = self._sent[0]
        action = "passed it on" if self._udp else "accepted it, and dialled"
        return (packet.time, f"{action} from {packet.source}:{packet.source_port}") if packet else (0, "")

    def _proxy(self) -> tuple[int, str]:
        packet = self._sent[1] if len(self._sent) > 1 else None
        return (packet.time, f"dialled from {packet.source}:{packet.source_port}") if packet else (0, "")

    def _nat(self) -> tuple[int, str]:
        packet = self._sent[0]
        own_flows = (flow for flow in self._seen.flows if packet and flow.reply_destination.port == packet.source_port)
        flow = next(own_flows, None)
        texts = [f"counted {before} → {now}" for text, (before, now) in self._seen.moved.items() if " -j DNAT " in text]
        if flow:
            texts.append(f"conntrack has {flow.destination.hostport} as {flow.reply_source.hostport}")
        return 0, "; ".join(texts)

    def _filter(self) -> tuple[int, str]:
        return 0, "let it through" if all(self._sent[: self._bridged + 1]) else ""

    def _guest_listener(self) -> tuple[int, str]:
        """Return the server's answer where the guest itself has the server."""
        return self._taken() if len(self._interfaces) == 1 else (0, "")

    def _at(self, index: int, action: str) -> tuple[int, str]:
        packet = self._sent[index] if index < len(self._sent) else None
        kind = "the datagram" if self._udp else "SYN"
        return (packet.time, f"{kind} {action} {self._interfaces[index]}") if packet else (0, "")

    def _bridge(self) -> tuple[int, str]:
        packet, text = self._at(self._bridged, "left by")
        return 0, text if packet else ""

    def _veth(self) -> tuple[int, str]:
        return self._at(self._bridged + 1, "left by")

    def _container(self) -> tuple[int, str]:
        return self._at(self._bridged + 2, "came in by")

    def _container_socket(self) -> tuple[int, str]:
        return self._taken() if len(self._interfaces) == self._bridged + 3 else (0, "")

    def _taken(self) -> tuple[int, str]:
        answer = self._answer
        if answer is None:
            return 0, ""
        if answer.protocol == "icmp":
            return answer.time, "refused: port unreachable"
        if self._udp:
            return answer.time, "answered"
        return answer.time, "refused: RST" if answer.flags & _RESET else "took it: SYN+ACK"

    def verdict(self, hops: Iterable[Hop], client: ProbeClient) -> Verdict | None:
        """Return that the probe was lost though nothing was found wrong; None where it got through."""
        through = client.answer in ("end", "silence") and (self._udp or client.connected)
        if through and (self._answer or self._udp or len(self._interfaces) == self._bridged + 2):
            return None
        timed = [hop for hop in hops if hop.kind != "nat"]
        lost_at = next((hop for hop in timed if not hop.evidence and hop.kind != "guest-listener"), timed[-1])
        text = f"nothing is seen to be wrong, yet the probe did not get past {lost_at.kind} ({client.answer})"
        return Verdict("probe-lost", lost_at.kind, text, "try again; then portchain diagnose")
