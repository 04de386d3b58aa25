"""What a probe's packets say of each hop."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from portchain.trace.chain import Chain
from portchain.trace.collect.evidence_session import Session
from portchain.trace.collect.probe import probe, watched
from portchain.trace.judge.chains import trace
from portchain.trace.judge.probed_chain import CapturedPacket, CapturedTraffic, ProbeClient, parse_capture, with_probe
from portchain.trace.query import Query
from support.one_container import machine

BEGAN = 1_700_000_000_000_000_000
INTERFACES = ["docker0", "veth1", "eth0"]
CLIENT = ProbeClient(BEGAN, BEGAN + 100_000, BEGAN + 600_000, "end", 0, "127.0.0.1:55298")
SYN, SYN_ACK, RESET = 0x02, 0x12, 0x14
GUEST, CONTAINER = ("172.17.0.1", 40001), ("172.17.0.2", 80)


def chain() -> Chain:
    """The healthy one."""
    return trace(machine(), Query(8080)).chains[0]


def packet(interface: int, after: int, flags: int, *, back: bool = False) -> CapturedPacket:
    """One of the probe's, ``after`` microseconds."""
    source, destination = (CONTAINER, GUEST) if back else (GUEST, CONTAINER)
    out = back if interface == 2 else not back
    return CapturedPacket(interface, BEGAN + after * 1000, out, "tcp", *source, *destination, flags)


PACKETS = (
    packet(0, 250, SYN),
    packet(1, 256, SYN),
    packet(2, 260, SYN),
    packet(2, 270, SYN_ACK, back=True),
    packet(1, 275, SYN_ACK, back=True),
    packet(0, 280, SYN_ACK, back=True),
)


def probed(*packets: CapturedPacket, client: ProbeClient = CLIENT) -> Chain:
    """The chain with these packets seen."""
    return with_probe(chain(), client, CapturedTraffic(packets, (), {}), INTERFACES)


def test_times_are_those_between_hops_and_add_up() -> None:
    found = probed(*PACKETS)
    times = {hop.kind: hop.microseconds for hop in found.hops if hop.microseconds is not None}
    assert times == {"host-socket": 100, "forward": 150, "veth": 6, "container": 4, "container-socket": 10}
    assert found.probe
    assert sum(times.values()) + found.probe["back"] == found.probe["total"] == 600
    assert found.verdict is None


def test_a_handshake_that_returns_late_takes_no_time_twice() -> None:
    found = probed(*PACKETS, client=replace(CLIENT, connected=BEGAN + 400_000))
    times = [hop.microseconds for hop in found.hops if hop.microseconds is not None]
    assert times == [250, 0, 6, 4, 10]


def test_packets_of_before_and_of_others_are_not_the_probes() -> None:
    early = packet(0, -50, SYN)
    other = replace(packet(0, 255, SYN_ACK, back=True), port=40002)
    found = probed(early, *PACKETS, other)
    hop = found.hop("forward")
    assert hop
    assert hop.microseconds == 150
    assert "172.17.0.1:40001" in hop.evidence


def test_a_packet_that_is_lost_is_lost_after_the_last_hop_that_saw_it() -> None:
    found = probed(*PACKETS[:2], client=replace(CLIENT, answer="silence"))
    assert found.verdict
    assert (found.verdict.code, found.verdict.hop) == ("probe-lost", "container")


def test_a_reset_is_no_arrival() -> None:
    refused = replace(packet(2, 270, RESET, back=True))
    found = probed(*PACKETS[:3], refused, client=replace(CLIENT, answer="reset"))
    hop = found.hop("container-socket")
    assert hop
    assert hop.evidence == "refused: RST"
    assert found.verdict
    assert found.verdict.code == "probe-lost"


def test_a_broken_chain_keeps_its_verdict() -> None:
    stopped = trace(machine(host={"guest_state": "stopped"}), Query(8080)).chains[0]
    found = with_probe(stopped, replace(CLIENT, answer="silence"), CapturedTraffic((), (), {}), INTERFACES)
    assert found.verdict == stopped.verdict


def test_what_is_watched_is_what_the_chain_goes_through() -> None:
    found = [(one.pid, one.name, one.port) for one in watched(chain())]
    assert found == [(0, "docker0", 80), (0, "veth1", 80), (1328, "eth0", 80)]


def test_reads_what_the_guest_saw() -> None:
    rule = "-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    rules = "*nat\n:DOCKER - [0:0]\n[{}:60] {}\nCOMMIT\n"
    line = (
        "ipv4 2 tcp 6 117 TIME_WAIT src=127.0.0.1 dst=127.0.0.1 sport=40001 dport=8080 "
        "src=172.17.0.2 dst=172.17.0.1 sport=80 dport=40001 [ASSURED] mark=0 zone=0 use=2"
    )
    row = {
        "interface": 0, "time": BEGAN + 250_000, "out": True, "protocol": "tcp", "source": GUEST[0],
        "source_port": GUEST[1], "destination": CONTAINER[0], "port": CONTAINER[1], "flags": SYN,
    }  # fmt: skip
    told = {"packets": [row], "conntrack": f"{line}\nnonsense", "counters": rules.format(3, rule)}
    found = parse_capture(told, rules.format(2, rule))
    assert found.packets == (packet(0, 250, SYN),)
    assert found.moved == {rule: (2, 3)}
    (flow,) = found.flows
    assert (flow.destination.hostport, flow.reply_source.hostport, flow.state) == (
        "127.0.0.1:8080",
        "172.17.0.2:80",
        "TIME_WAIT",
    )
    hop = with_probe(chain(), CLIENT, found, INTERFACES).hop("nat")
    assert hop
    assert hop.evidence == "counted 2 → 3; conntrack has 127.0.0.1:8080 as 172.17.0.2:80"


@pytest.mark.parametrize("odd", [{"time": None}, {"port": "http"}, {"flags": {}}, {}], ids=str)
def test_packets_that_make_no_sense_are_an_error(odd: dict[str, object]) -> None:
    row = {**asdict(packet(0, 250, SYN)), **odd} if odd else {}
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_capture({"packets": [row], "conntrack": "", "counters": ""}, "")


def test_what_leads_to_a_unix_socket_is_not_probed() -> None:
    with Session("none") as session:
        found = probe(session, replace(chain(), target="/run/docker.sock"))
    assert found.notes == ("guest: /run/docker.sock is a unix socket, so it was not probed",)
    assert (found.verdict, found.probe) == (None, None)
