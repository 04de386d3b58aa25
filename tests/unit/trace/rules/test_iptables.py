"""Rules as iptables-save tells them."""

from __future__ import annotations

import pytest
from hypothesis import given

from portchain.trace.model import NetworkNamespace, Route
from portchain.trace.parse import iptables
from portchain.trace.rules.filter_rules import Packet
from portchain.trace.rules.hook_passage import Hook
from support.mutations import mutated_text

HEAD = "*{}\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
OWN = NetworkNamespace(routes=tuple(Route(one, "lo", "local") for one in ("127.0.0.1/32", "172.17.0.1/32", "::1/128")))


def met(rule: str, *, table: str = "filter", **words: object) -> str:
    """How a packet ends at a single rule: ``[c:c]`` and what comes after ``-A OUTPUT``."""
    fields = {"protocol": "tcp", "source": "127.0.0.1", "destination": "172.17.0.2", "port": 80, "outward": "docker0"}
    packet = Packet(**{**fields, **words})
    rules = iptables.parse(f"{HEAD.format(table)}[1:60] -A OUTPUT {rule}\nCOMMIT\n", packet.family)
    assert rules.unknown == ()
    return Hook(rules, packet, "output", OWN).through().end


@pytest.mark.parametrize(
    ("rule", "end"),
    [
        ("-j DROP", "drop"),
        ("-d 172.17.0.2/32 -j DROP", "drop"),
        ("-d 172.17.0.0/16 -j DROP", "drop"),
        ("! -d 172.17.0.0/16 -j DROP", "accept"),
        ("! -d 10.0.0.0/8 -j DROP", "drop"),
        ("-s 127.0.0.1/32 -o docker0 -j DROP", "drop"),
        ("-o docker+ -j DROP", "drop"),
        ("-o eth0 -j DROP", "accept"),
        ("! -o eth0 -j DROP", "drop"),
        ("-i docker0 -j DROP", "accept"),
        ("-p udp -j DROP", "accept"),
        ("! -p udp -j DROP", "drop"),
        ("-p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable", "reject"),
        ("-p tcp -m tcp ! --dport 80 -j DROP", "accept"),
        ("-p tcp -m tcp --dport 70:90 -j DROP", "drop"),
        ("-p tcp -m tcp --dport 81: -j DROP", "accept"),
        ("-p tcp -m tcp --sport 40000 -j DROP", "drop"),
        ("-p tcp -m multiport --dports 22,79:81 -j DROP", "drop"),
        ("-p tcp -m multiport --ports 40000 -j DROP", "drop"),
        ("-m addrtype --dst-type LOCAL -j DROP", "accept"),
        ("-m addrtype ! --dst-type LOCAL -j DROP", "drop"),
        ("-m addrtype --src-type LOCAL -j DROP", "drop"),
        ("-m addrtype --dst-type UNICAST -j DROP", "drop"),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j DROP", "accept"),
        ("-m conntrack --ctstate NEW -j DROP", "drop"),
        ("-m conntrack ! --ctstate ESTABLISHED -j DROP", "drop"),
        ("-m state --state NEW -j DROP", "drop"),
        ("-m iprange --dst-range 172.17.0.1-172.17.0.9 -j DROP", "drop"),
        ('-m comment --comment "do -j not ! break" -j DROP', "drop"),
        ("-m mark --mark 0x1/0x1 -j DROP", "accept"),
        ("-j LOG --log-prefix x", "accept"),
        ("-j RETURN", "accept"),
        ("-m limit --limit 1/sec -j DROP", "accept"),
        ('-m comment --comment "-j" -j DROP', "drop"),
        ('-m comment --comment "!" -j DROP', "drop"),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", "drop"),
        ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP", "accept"),
        ("-p tcp -m tcp --tcp-flags ALL NONE -j DROP", "accept"),
        ("-m connmark --mark 0x0 -j DROP", "drop"),
        ("-m connmark --mark 0x1 -j DROP", "accept"),
        ("-m conntrack --ctorigdst 172.17.0.2 --ctorigdstport 80 -j DROP", "drop"),
        ("-m conntrack --ctorigdst 172.17.0.3 -j DROP", "accept"),
    ],
)
def test_conditions(rule: str, end: str) -> None:
    assert met(rule) == end


def test_ipv6() -> None:
    words = {"source": "::1", "destination": "fd00::2"}
    assert met("-d fd00::/8 -j DROP", **words) == "drop"
    assert met("-d fe80::/10 -j DROP", **words) == "accept"


@pytest.mark.parametrize(
    ("target", "family", "leads_to"),
    [
        ("DNAT --to-destination 172.17.0.2:80", "ip", ("172.17.0.2", 80)),
        ("DNAT --to-destination 172.17.0.2", "ip", ("172.17.0.2", 8080)),
        ("DNAT --to-destination :81", "ip", ("127.0.0.1", 81)),
        ("DNAT --to-destination 172.17.0.2:80-90", "ip", ("172.17.0.2", 80)),
        ("DNAT --to-destination 172.17.0.2:8000-8090", "ip", ("172.17.0.2", 8080)),
        ("DNAT --to-destination 172.17.0.2:9000-9010/8075", "ip", ("172.17.0.2", 9005)),
        ("REDIRECT --to-ports 8000-8090", "ip", ("127.0.0.1", 8080)),
        ("DNAT --to-destination 172.17.0.2:80 --random --persistent", "ip", ("172.17.0.2", 80)),
        ("REDIRECT --to-ports 81", "ip", ("127.0.0.1", 81)),
        ("DNAT --to-destination [fd00::2]:80", "ip6", ("fd00::2", 80)),
        ("DNAT --to-destination fd00::2", "ip6", ("fd00::2", 8080)),
    ],
)
def test_translations(target: str, family: str, leads_to: tuple[str, int]) -> None:
    rules = iptables.parse(f"{HEAD.format('nat')}-A OUTPUT -p tcp -j {target}\nCOMMIT\n", family)
    own = "::1" if family == "ip6" else "127.0.0.1"
    found = Hook(rules, Packet("tcp", own, own, 8080), "output", OWN).through()
    assert (found.packet.destination, found.packet.port) == leads_to
    assert found.translation


CHAINS = """\
*filter
:OUTPUT DROP [0:0]
:ONE - [0:0]
:TWO - [0:0]
-A OUTPUT -p tcp -m tcp --dport 1 -j ONE
-A OUTPUT -p tcp -m tcp --dport 2 -g ONE
-A OUTPUT -p tcp -m tcp --dport 3 -j ONE
-A OUTPUT -p tcp -m tcp --dport 1:3 -j ACCEPT
-A ONE -p tcp -m tcp --dport 3 -j TWO
-A ONE -p tcp -m tcp --dport 1 -j RETURN
-A TWO -j TWO
COMMIT
"""


@pytest.mark.parametrize(("port", "end"), [(1, "accept"), (2, "drop"), (3, "accept"), (4, "drop")])
def test_jump_goto_return_policy_and_a_chain_that_jumps_to_itself(port: int, end: str) -> None:
    found = Hook(
        iptables.parse(CHAINS), Packet("tcp", "10.0.0.1", "10.0.0.2", port), "output", NetworkNamespace()
    ).through()
    assert found.end == end
    if end == "drop":
        assert found.by
        assert (found.by.chain, found.by.text) == ("OUTPUT", "")


@pytest.mark.parametrize(
    "line",
    [
        "-A OUTPUT -m connmark --mark 0x1 -j DROP",
        "-A OUTPUT -m socket -j DROP",
        "-A OUTPUT -m dccp --dport 80 -j DROP",
        "-A OUTPUT -m addrtype --dst-type BLACKHOLE -j DROP",
        "-A OUTPUT -j NFQUEUE --queue-num 0",
        "-A OUTPUT -j MYSTERY --times 3",
        "-A OUTPUT -d nonsense -j DROP",
    ],
)
def test_what_cannot_be_known_is_unsure(line: str) -> None:
    rules = iptables.parse(f"{HEAD.format('filter')}{line}\nCOMMIT\n")
    packet = Packet("tcp", "127.0.0.1", "172.17.0.2", 80, state="ESTABLISHED")
    assert [one.text for one in Hook(rules, packet, "output", OWN).through().unsure] == [line]


@pytest.mark.parametrize(
    "line",
    [
        "-m limit --limit 3/min -j LOG --log-prefix [UFW] --log-uid",
        "-j TCPMSS --clamp-mss-to-pmtu",
        "-j TOS --set-tos 0x10/0x3f",
        "-j NFLOG --nflog-group 1",
        "-j CHECKSUM --checksum-fill",
        "-p tcp",
        "",
    ],
)
def test_what_changes_nothing_is_no_matter_of_doubt(line: str) -> None:
    rules = iptables.parse(f"{HEAD.format('mangle')}-A OUTPUT {line}\nCOMMIT\n")
    assert Hook(rules, Packet("tcp", "127.0.0.1", "172.17.0.2", 80), "output", OWN).through().unsure == ()


MARKS = """\
*mangle
:OUTPUT ACCEPT [0:0]
{}
COMMIT
"""


@pytest.mark.parametrize(
    ("targets", "mark", "connection_mark"),
    [
        (("CONNMARK --set-xmark 0x3/0xffffffff",), 0, 3),
        (("MARK --set-xmark 0x6/0xffffffff", "CONNMARK --save-mark --nfmask 0x2 --ctmask 0xffffffff"), 6, 2),
        (("CONNMARK --set-xmark 0x5/0x5", "CONNMARK --restore-mark --nfmask 0xff --ctmask 0x4"), 4, 5),
        (("CONNMARK --left-shift-mark 1",), 0, None),
    ],
)
def test_marks(targets: tuple[str, ...], mark: int, connection_mark: int | None) -> None:
    rules = iptables.parse(MARKS.format("\n".join(f"-A OUTPUT -j {one}" for one in targets)))
    packet = Hook(rules, Packet("tcp", "127.0.0.1", "172.17.0.2", 80), "output", OWN).through().packet
    assert (packet.mark, packet.connection_mark) == (mark, connection_mark)


def test_odd_lines_are_told_and_no_error() -> None:
    odd = ("what", "[x:y] -A OUTPUT -j DROP", "-A")
    found = iptables.parse("\n".join(["*filter", ":OUTPUT ACCEPT [0:0]", *odd, "COMMIT"]))
    assert len(found.unknown) == len(odd)


@pytest.mark.parametrize(
    "line", [":", "-A", "-A X -j DNAT --to-destination here", "-A X -j DNAT --to-destination [::z]:1"]
)
def test_odd_lines_do_not_hide_others(line: str) -> None:
    found = iptables.parse(f"*nat\n:X - [0:0]\n{line}\n-A X -j ACCEPT\n")
    chain = found.chain("ip nat", "X")
    assert chain
    assert chain.rules[-1].text == "-A X -j ACCEPT"


ODD = (
    HEAD.format("nat")
    + ":DOCKER - [0:0]\n[1:60] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
    + "[2:120] -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:8080\n"
    + "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\nCOMMIT\n"
)


@given(text=mutated_text(ODD, (" -j ", " -m ", "! ", "\n", "0/0", ":", "99999", "-g DOCKER", '"')))
def test_any_text_is_rules_or_not_understood(text: str) -> None:
    rules = iptables.parse(text)
    packet = Packet("tcp", "127.0.0.1", "172.17.0.2", 8080, outward="lo")
    Hook(rules, packet, "output", OWN).through()
