"""What a probe shows: the times at which its packets passed each hop, and what moved. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .model import Flow
from .read_flows import flows
from .rules import iptables
from .trace import Chain, Hop, Verdict

_SYN, _RESET, _ACK = 0x02, 0x04, 0x10
_UNREACHABLE = (3, 1)  # ICMP's type, and ICMPv6's


@dataclass(frozen=True)
class Client:
    """The probe's own side, times in nanoseconds since the epoch: ``connected`` is 0 where it was not.

    ``answer`` is end (the server's end of stream, or its datagram), silence, reset or an error's text. ``source`` is
    where it came from, ``127.0.0.1:55298``.
    """

    began: int
    connected: int
    ended: int
    answer: str
    bytes: int
    source: str


@dataclass(frozen=True)
class Packet:
    """A packet as an interface saw it: ``interface`` is its number in the order of the way."""

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
class Seen:
    """What the guest saw meanwhile. ``moved`` are the nat rules whose packets were counted: before and after."""

    packets: tuple[Packet, ...]
    flows: tuple[Flow, ...]
    moved: Mapping[str, tuple[int, int]]


def read_seen(told: Mapping[str, Any], before: str) -> Seen:
    """Read the guest's answer to ``caught``; raise ValueError, KeyError, TypeError."""
    packets = tuple(Packet(**{name: kind(one[name]) for name, kind in _FIELDS.items()}) for one in told["packets"])
    counted, then = _counted(str(told["counters"])), _counted(before)
    moved = {text: (then.get(text, 0), now) for text, now in counted.items() if now > then.get(text, 0)}
    return Seen(packets, tuple(flows(str(told["conntrack"]))), moved)


def _counted(text: str) -> dict[str, int]:
    return {rule.text: rule.packets for chain in iptables.parse(text).chains for rule in chain.rules}


def add(chain: Chain, client: Client, seen: Seen, interfaces: Sequence[str]) -> Chain:
    """The chain with the probe's times and evidence; one that did not get through breaks what looked whole."""
    marks = _Marks(chain, client, seen, interfaces)
    hops = tuple(marks.hop(hop) for hop in chain.hops)
    told = {
        "answer": client.answer,
        "bytes": client.bytes,
        "connect": _microseconds(client.began, client.connected) if client.connected else None,
        "total": _microseconds(client.began, client.ended),
        "back": _microseconds(marks.last, client.ended) if client.answer in ("end", "reset") else None,
    }
    return replace(chain, hops=hops, probe=told, verdict=chain.verdict or marks.verdict(hops, client))


def _microseconds(begin: int, end: int) -> float:
    return round(max(0, end - begin) / 1000, 1)


class _Marks:
    """Goes along the hops, from one time to the next."""

    def __init__(self, chain: Chain, client: Client, seen: Seen, interfaces: Sequence[str]) -> None:
        self._client = client
        self._seen = seen
        self._interfaces = interfaces
        self._udp = chain.protocol == "udp"
        self.last = client.began
        self._sent = [self._first(index) for index in range(len(interfaces))]
        self._answer = self._answered()

    def _first(self, interface: int) -> Packet | None:
        """The first packet of the probe at an interface, on its way to the server."""
        since = (one for one in self._seen.packets if one.interface == interface and one.time >= self._client.began)
        kind = "udp" if self._udp else "tcp"
        for one in since:
            if one.protocol == kind and (self._udp or one.flags & (_SYN | _ACK) == _SYN):
                return one
        return None

    def _answered(self) -> Packet | None:
        """What the server's side sent back first."""
        last = self._sent[-1]
        if last is None:
            return None
        back = (one for one in self._seen.packets if one.interface == last.interface and one.time >= last.time)
        for one in back:
            if one.protocol == "icmp" and one.flags in _UNREACHABLE:
                return one
            if (one.source_port, one.port) == (last.port, last.source_port) and one.out != last.out:
                return one
        return None

    def hop(self, hop: Hop) -> Hop:
        """The hop with its time and what shows that the probe passed."""
        found = getattr(self, f"_{hop.kind.replace('-', '_')}", None)
        if found is None or hop.state in ("broken", "skipped"):
            return hop
        when, evidence = found()
        if not evidence:
            return hop
        if not when:
            return replace(hop, evidence=evidence)
        took = _microseconds(self.last, when)
        self.last = max(self.last, when)
        return replace(hop, microseconds=took, evidence=evidence)

    def _host_socket(self) -> tuple[int, str]:
        client, first = self._client, self._sent[0]
        if not client.connected:
            return 0, ""
        return min(client.connected, first.time if first else client.connected), (
            f"sent from {client.source}" if self._udp else f"took the connection from {client.source}"
        )

    def _forward(self) -> tuple[int, str]:
        first = self._sent[0]
        what = "passed it on" if self._udp else "accepted it, and dialled"
        return (first.time, f"{what} from {first.source}:{first.source_port}") if first else (0, "")

    def _nat(self) -> tuple[int, str]:
        first = self._sent[0]
        mine = (one for one in self._seen.flows if first and one.reply_destination.port == first.source_port)
        flow = next(mine, None)
        texts = [f"counted {before} → {now}" for text, (before, now) in self._seen.moved.items() if " -j DNAT " in text]
        if flow:
            texts.append(f"conntrack has {flow.destination.place} as {flow.reply_source.place}")
        return 0, "; ".join(texts)

    def _filter(self) -> tuple[int, str]:
        return 0, "let it through" if self._sent[0] else ""

    def _guest_listener(self) -> tuple[int, str]:
        """The end of the way, where the guest itself has the server."""
        return self._taken() if len(self._interfaces) == 1 else (0, "")

    def _at(self, index: int, what: str) -> tuple[int, str]:
        packet = self._sent[index] if index < len(self._sent) else None
        kind = "the datagram" if self._udp else "SYN"
        return (packet.time, f"{kind} {what} {self._interfaces[index]}") if packet else (0, "")

    def _bridge(self) -> tuple[int, str]:
        packet, text = self._at(0, "left by")
        return 0, text if packet else ""

    def _veth(self) -> tuple[int, str]:
        return self._at(1, "left by")

    def _container(self) -> tuple[int, str]:
        return self._at(2, "came in by")

    def _container_socket(self) -> tuple[int, str]:
        return self._taken() if len(self._interfaces) == 3 else (0, "")

    def _taken(self) -> tuple[int, str]:
        answer = self._answer
        if answer is None:
            return 0, ""
        if answer.protocol == "icmp":
            return answer.time, "refused: port unreachable"
        if self._udp:
            return answer.time, "answered"
        return answer.time, "refused: RST" if answer.flags & _RESET else "took it: SYN+ACK"

    def verdict(self, hops: Iterable[Hop], client: Client) -> Verdict | None:
        """That the probe was lost, though nothing was found to be wrong; None where it got through."""
        through = client.answer in ("end", "silence") and (self._udp or client.connected)
        if through and (self._answer or self._udp or len(self._interfaces) == 2):
            return None
        timed = [hop for hop in hops if hop.kind != "nat"]
        lost = next((hop for hop in timed if not hop.evidence and hop.kind != "guest-listener"), timed[-1])
        text = f"nothing is seen to be wrong, yet the probe did not get past {lost.kind} ({client.answer})"
        return Verdict("probe-lost", lost.kind, text, "try again; then portchain diagnose")
