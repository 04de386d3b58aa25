"""What the kernel was seen to do (tests/integration/chain) between and within hooks."""

from __future__ import annotations

import pytest

from portchain.trace.model import NetworkNamespace, Route
from portchain.trace.parse import iptables
from portchain.trace.rules import packet_path
from portchain.trace.rules.filter_rules import Match, Packet, Rule, RuleChain, RuleSet, Target
from portchain.trace.rules.hook_passage import Passage
from support.effort import count_calls

SPACE = NetworkNamespace(
    routes=(
        Route("127.0.0.0/8", "lo", "local", source="127.0.0.1"),
        Route("10.0.0.1/32", "lo", "local", source="10.0.0.1"),
        Route("10.0.0.0/24", "one0", source="10.0.0.1"),
    )
)
PACKET = Packet("tcp", "127.0.0.1", "127.0.0.1", 80)
NAT = "*nat\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A OUTPUT -p tcp -j DNAT --to-destination {}\n{}COMMIT\n"


def sent(*lines: str, nat: str = NAT.format("10.0.0.2:81", "")) -> Passage:
    """Of a packet that is translated, through a table filter with more lines."""
    chains = ":INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    return packet_path.send(iptables.parse("\n".join((f"{nat}*filter\n{chains}", *lines, "COMMIT"))), PACKET, SPACE)


@pytest.mark.parametrize(("device", "end"), [("lo", "drop"), ("one0", "accept")])
def test_hook_output_has_the_interface_from_before_a_translation(device: str, end: str) -> None:
    assert sent(f"-A OUTPUT -o {device} -j DROP").end == end


def test_it_leaves_by_the_new_one() -> None:
    assert sent().packet.outward == "one0"


def test_a_translation_to_the_same_place_is_none_for_conntrack() -> None:
    rule = "-A OUTPUT -m conntrack --ctstate DNAT -j DROP"
    assert sent(rule, nat=NAT.format(":80", "")).end == "accept"
    assert sent(rule).end == "drop"


def test_masquerading_gives_the_address_of_the_way_out() -> None:
    assert sent(nat=NAT.format("10.0.0.2:81", "-A POSTROUTING -o one0 -j MASQUERADE\n")).packet.source == "10.0.0.1"


def test_a_new_source_is_seen_where_the_packet_comes_in_again() -> None:
    hidden = NAT.format("10.0.0.1", "-A POSTROUTING -j SNAT --to-source 10.0.0.1\n")
    assert sent("-A INPUT -s 10.0.0.1/32 -j DROP", nat=hidden).end == "drop"


@pytest.mark.parametrize(("mark", "end"), [("0x1", "drop"), ("0x4/0x4", "accept")])
def test_marks_are_carried(mark: str, end: str) -> None:
    mangle = "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j MARK --set-xmark 0x1/0x1\nCOMMIT\n"
    found = sent(f"-A OUTPUT -m mark --mark {mark} -j DROP", nat=mangle)
    assert found.end == end


@pytest.mark.parametrize(("priority", "end"), [(-250, "accept"), (-150, "drop")])
def test_no_state_before_conntrack(priority: int, end: str) -> None:
    new = Match("ct state new", lambda packet, _: packet.state == "NEW")
    rule = Rule("inet own", "first", "ct state new drop", (new,), Target("drop"))
    rules = RuleSet((RuleChain("inet own", "first", (rule,), "output", priority),))
    assert packet_path.send(rules, PACKET, SPACE).end == end


def test_nat_is_met_at_its_own_place_whatever_its_priority() -> None:
    dropped = Rule("ip own", "early", "drop", (Match("80", lambda packet, _: packet.port == 80),), Target("drop"))
    to_81 = Rule("ip own", "late", "dnat to :81", (), Target("dnat", ports=(81, 81)))
    rules = RuleSet(
        (
            RuleChain("ip own", "early", (dropped,), "output", -50),
            RuleChain("ip own", "late", (to_81,), "output", 10, kind="nat"),
        )
    )
    assert packet_path.send(rules, PACKET, SPACE).packet.port == 81


@pytest.mark.parametrize(("state", "end"), [("UNTRACKED", "drop"), ("NEW", "accept"), ("INVALID", "accept")])
def test_what_is_not_tracked_is_neither_new_nor_translated(state: str, end: str) -> None:
    raw = "*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j CT --notrack\nCOMMIT\n"
    found = sent(f"-A OUTPUT -m conntrack --ctstate {state} -j DROP", nat=raw + NAT.format("10.0.0.2:81", ""))
    assert (found.end, found.translation) == (end, None)


def test_after_a_translation_it_is_known_where_the_connection_went_to() -> None:
    assert sent("-A OUTPUT -m conntrack --ctorigdst 127.0.0.1 --ctorigdstport 80 -j DROP").end == "drop"


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("-A INPUT -d 127.0.0.0/8 ! -i lo -j DROP", "drop"),
        ("-A INPUT -d 10.0.0.1/32 -j DROP", "accept"),
        ("-A INPUT -s 10.0.0.2/32 -i one0 -p tcp -m tcp --sport 81 -j DROP", "drop"),
        ("-A INPUT -m conntrack --ctstate NEW -j DROP", "accept"),
        ("-A INPUT -m conntrack --ctstate DNAT -j DROP", "drop"),
        ("-A INPUT -m connmark --mark 0x7 -j DROP", "drop"),
        ("-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN -j DROP", "accept"),
        ("-A INPUT -m limit --limit 1/sec -j DROP", "accept"),
    ],
)
def test_an_answer_is_for_who_asked_before_anything_was_translated(line: str, end: str) -> None:
    marked = "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j CONNMARK --set-xmark 0x7/0xffffffff\nCOMMIT\n"
    hidden = NAT.format("10.0.0.2:81", "-A POSTROUTING -o one0 -j MASQUERADE\n")
    filters = f"*filter\n:INPUT ACCEPT [0:0]\n{line}\nCOMMIT\n"
    rules = iptables.parse(marked + hidden + filters)
    assert packet_path.answer(rules, packet_path.send(rules, PACKET, SPACE), SPACE).end == end


@pytest.mark.parametrize(
    ("protocol", "line"),
    [
        ("tcp", "-m conntrack --ctstate INVALID -j DROP"),
        ("udp", "-m conntrack --ctstate NEW -j DROP"),
        ("udp", "-m connmark ! --mark 0x7 -j DROP"),
    ],
)
def test_an_answer_to_what_was_not_tracked_is_the_first_that_conntrack_sees(protocol: str, line: str) -> None:
    raw = "*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j CT --notrack\nCOMMIT\n"
    mangle = "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j CONNMARK --set-xmark 0x7/0xffffffff\nCOMMIT\n"
    rules = iptables.parse(f"{raw}{mangle}*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {line}\nCOMMIT\n")
    sent = packet_path.send(rules, Packet(protocol, "10.0.0.1", "10.0.0.2", 80), SPACE)
    assert packet_path.answer(rules, sent, SPACE).end == "drop"


def test_an_answer_that_is_not_tracked_is_not_translated_back() -> None:
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CT --notrack\nCOMMIT\n"
    for rules in (raw, ""):
        read = iptables.parse(NAT.format("10.0.0.2:81", "") + rules)
        found = packet_path.answer(read, packet_path.send(read, PACKET, SPACE), SPACE).packet
        assert found.source == ("10.0.0.2" if rules else "127.0.0.1")


def test_before_conntrack_an_answer_is_not_known_to_be_translated() -> None:
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m conntrack --ctstate DNAT,ESTABLISHED -j DROP\nCOMMIT\n"
    rules = iptables.parse(NAT.format("10.0.0.2:81", "") + raw)
    found = packet_path.answer(rules, packet_path.send(rules, PACKET, SPACE), SPACE)
    assert (found.end, found.packet.translated) == ("accept", True)


def test_after_all_of_hook_input_an_answer_comes_from_where_it_was_sent_to() -> None:
    late = Rule("inet own", "late", "drop", (Match("80", lambda packet, _: packet.source_port == 80),), Target("drop"))
    nat = iptables.parse(NAT.format("10.0.0.2:81", ""))
    rules = nat.joined(RuleSet((RuleChain("inet own", "late", (late,), "input", 150),)))
    assert packet_path.answer(rules, packet_path.send(rules, PACKET, SPACE), SPACE).end == "drop"


LIMIT = "-A OUTPUT -m limit --limit 1/sec"


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        ((f"{LIMIT} -j ACCEPT", "-A OUTPUT -j DROP"), "accept"),
        (("-A OUTPUT -m set --match-set allowed src -j RETURN", "-A OUTPUT -j REJECT"), "accept"),
        (("-A OUTPUT -j NFQUEUE", "-A OUTPUT -j DROP"), "accept"),
        (("-A OUTPUT -m mystery --of 3 -j ACCEPT", f"{LIMIT} -j DROP", "-A OUTPUT -j DROP"), "accept"),
        ((f"{LIMIT} -j MARK --set-xmark 0x1/0x1", "-A OUTPUT -m mark ! --mark 0x1/0x1 -j DROP"), "accept"),
        ((f"{LIMIT} -j LOG", "-A OUTPUT -j DROP"), "drop"),
        ((f"{LIMIT} -j DROP", "-A OUTPUT -j REJECT"), "reject"),
        ((f"{LIMIT} -p udp -j ACCEPT", "-A OUTPUT -j DROP"), "drop"),
        ((f"{LIMIT} -j MARK --set-xmark 0x2/0x2", "-A OUTPUT -m mark ! --mark 0x1/0x1 -j DROP"), "drop"),
        (("-A OUTPUT -j DROP", f"{LIMIT} -j ACCEPT"), "drop"),
    ],
)
def test_in_doubt_nothing_is_dropped(lines: tuple[str, ...], end: str) -> None:
    found = sent(*lines)
    assert found.end == end
    assert end == "accept" or found.by
    assert end != "accept" or found.unsure


def test_two_doubts_at_once() -> None:
    marked = f"{LIMIT} -j MARK --set-xmark 0x1/0x1"
    let_in = "-A OUTPUT -m mark --mark 0x1/0x1 -m owner --uid-owner 0 -j ACCEPT"
    assert sent(marked, let_in, "-A OUTPUT -j DROP").end == "accept"


def test_where_a_translation_leads_by_chance_nothing_more_is_said() -> None:
    found = sent("-A OUTPUT -o lo -j DROP", nat=NAT.format("10.0.0.2-10.0.0.9", ""))
    assert (found.end, len(found.unsure)) == ("accept", 1)


def test_many_doubts_take_no_time() -> None:
    many = [f"-A OUTPUT -m limit --limit {number}/sec -j MARK --set-xmark 0x2/0x2" for number in range(1, 400)]
    assert count_calls(lambda: sent(*many, "-A OUTPUT -j DROP")) < 1_000_000
    assert sent(*many, "-A OUTPUT -j DROP").end == "accept"


def test_chains_without_end_are_given_up() -> None:
    chains = "".join(f":C{number} - [0:0]\n" for number in range(40))
    jumps = "".join(f"-A C{number} -j C{number + 1}\n" * 3 for number in range(39))
    rules = iptables.parse(f"*filter\n:OUTPUT DROP [0:0]\n{chains}-A OUTPUT -j C0\n{jumps}COMMIT\n")
    assert count_calls(lambda: packet_path.send(rules, PACKET, SPACE)) < 10_000_000
    assert packet_path.send(rules, PACKET, SPACE).end == "accept"


def test_a_rule_that_hides_another_is_sought_among_the_last_ones_alone() -> None:
    chains = "".join(f":C{number} - [0:0]\n" for number in range(1500))
    jumps = "".join(f"-A OUTPUT -j C{number}\n-A C{number} -j RETURN\n" for number in range(1500))
    rules = iptables.parse(f"*nat\n:OUTPUT ACCEPT [0:0]\n{chains}{jumps}COMMIT\n")
    assert count_calls(lambda: packet_path.shadowed(rules, PACKET, SPACE)) < 10_000_000
    assert packet_path.shadowed(rules, PACKET, SPACE) is None
