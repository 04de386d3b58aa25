from __future__ import annotations

import pytest

from portchain.ports.plain_data import plan_chains

WEB = {"name": "web", "image": "nginx", "ports": ["127.0.0.1:8080:80", "22", "9000:9000/sctp"]}


def test_publications_and_forwards_become_the_chains_that_must_be_there() -> None:
    forwards = [{"listen": ":53", "target": "127.0.0.1:53", "protocol": "udp"}]
    assert plan_chains([WEB, {"name": "idle"}], forwards) == [
        {"port": 53, "protocol": "udp", "target": "127.0.0.1:53"},
        {"container": "web", "container_port": 80, "protocol": "tcp", "port": 8080, "address": "127.0.0.1"},
        {"container": "web", "container_port": 22, "protocol": "tcp"},
    ]


def test_a_socket_of_the_host_has_no_chain() -> None:
    assert plan_chains([], [{"listen": "unix:/run/x.sock", "target": "127.0.0.1:80"}]) == []


def test_a_publication_that_a_forward_keeps_from_the_host_is_refused() -> None:
    with pytest.raises(ValueError, match=r"container web: publication 127.0.0.1:8080:80/tcp: .* taken by tcp::8080"):
        plan_chains([WEB], [{"listen": ":8080", "target": "127.0.0.1:1"}])


def test_wrong_words_are_refused() -> None:
    with pytest.raises(ValueError, match="'x'"):
        plan_chains([{"name": "web", "ports": ["x:80"]}])
