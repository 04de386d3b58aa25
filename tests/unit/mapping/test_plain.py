from __future__ import annotations

import pytest

from portchain.mapping.plain import parse_publications, plan_forwards, port_conflicts


def test_publications_come_in_the_words_of_compose() -> None:
    assert parse_publications(["127.0.0.1::22", 80]) == [
        {"target": 22, "published": "", "host_ip": "127.0.0.1", "protocol": "tcp"},
        {"target": 80, "published": "", "host_ip": "", "protocol": "tcp"},
    ]


def test_conflicts_are_found_among_forwards_and_publications() -> None:
    items = ["8080:80", "8000-8001:80", "80", {"listen": "127.0.0.1:8080", "target": "127.0.0.1:80"}]
    assert port_conflicts(items) == [["tcp::8080", "tcp:127.0.0.1:8080"]]
    assert not port_conflicts(["8080:80", {"listen": ":8080", "target": ":80", "protocol": "udp"}])


def test_a_plan_goes_straight_into_the_inventory() -> None:
    known = [{"listen": ":50000", "target": "127.0.0.1:55000"}]
    [planned] = plan_forwards(["22"], known=known, host_taken=["tcp::50000"])
    assert planned == {
        "publication": "22/tcp",
        "guest": "127.0.0.1:55000:22/tcp",
        "forward": {"listen": ":50000", "target": "127.0.0.1:55000", "protocol": "tcp", "proxy_protocol": ""},
    }


def test_wrong_words_are_refused() -> None:
    with pytest.raises(ValueError, match="'x'"):
        plan_forwards(["80"], host_taken=["tcp:127.0.0.1:x"])
