"""What a real guest told of the seed's machine, and what a hostile one might tell."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.ports.forward import Endpoint
from portchain.trace.judge.chains import trace_all
from portchain.trace.model import Guest
from portchain.trace.parse.guest_evidence import EvidenceError, parse_guest, parse_untrusted, with_container_details
from support.one_container import machine

TOLD: dict[str, Any] = json.loads((Path(__file__).parent / "seed_evidence.json").read_text())


def read(told: Any) -> Guest:
    """Both answers, as `look` reads them."""
    seen = parse_untrusted(parse_guest, told["look"], "network")
    return parse_untrusted(lambda more: with_container_details(seen, more), told["inside"], "containers")


SEED = read(TOLD)


def test_containers_with_their_places() -> None:
    nginx, minikube = SEED.container("nginx"), SEED.container("minikube")
    assert nginx and minikube
    assert [(a.network, a.address) for a in nginx.attachments] == [("bridge", "172.17.0.2")]
    assert [(a.network, a.address) for a in minikube.attachments] == [("minikube", "192.168.49.2")]
    assert nginx.bound == ((Endpoint("tcp", "0.0.0.0", 8080), 8080),)
    assert sorted(one.container_port for one in minikube.wanted) == [22, 2376, 5000, 8443, 32443]
    assert {nginx.state, minikube.state} == {"running"}


def test_an_interface_with_an_escape_sequence_in_its_name_is_read_like_any_other() -> None:
    told = copy.deepcopy(TOLD)
    links = told["look"]["space"]["links"]
    told["look"]["space"]["links"] = links.replace('"docker0"', '"a\x1b[2J"')  # as ip prints it
    assert {link.name for link in read(told).space.links} - {link.name for link in SEED.space.links} == {"a\x1b[2J"}


def test_veth_pairs_are_told_by_number() -> None:
    for container in SEED.containers:
        assert container.space
        inner = container.space.link_named("eth0")
        assert inner
        outer = SEED.space.link(inner.peer)
        assert outer
        assert outer.peer == inner.index
        bridge = SEED.space.link(outer.master)
        assert bridge
        assert bridge.kind == "bridge"


def test_listeners_with_their_processes() -> None:
    held = {
        one.at.hostport: [p.command for p in one.processes] for one in SEED.space.listeners if one.at.protocol == "tcp"
    }
    assert held["0.0.0.0:8080"] == ["dockerd"]
    assert held["127.0.0.1:55000"] == ["dockerd"]
    assert held["127.0.0.1:1080"] == ["microsocks"]


def test_where_the_loopback_is_routed() -> None:
    routed = {link.name: link.route_localnet for link in SEED.space.links if link.kind in ("bridge", "loopback")}
    assert routed.pop("lo") is False
    assert len(routed) == 2
    assert all(routed.values())
    told = copy.deepcopy(TOLD)
    told["look"]["space"]["route_localnet"] = ["all"]
    assert all(link.route_localnet for link in read(told).space.links)


def test_routes_rules_networks_services_and_flows() -> None:
    assert SEED.space.has_address("127.0.0.77")
    route = SEED.space.route("192.168.49.2")
    assert route
    assert route.device.startswith("br-")
    assert SEED.space.rules.chain("ip nat", "DOCKER")
    assert SEED.space.rules.unknown == ()
    assert {one.name for one in SEED.networks} == {"bridge", "host", "minikube", "none"}
    assert {one.state for one in SEED.services} == {"running"}
    assert len(SEED.services) == 15
    assert SEED.flows


def places(told: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value."""
    rows = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    for key, value in rows:
        yield (*way, key)
        yield from places(value, (*way, key))


def walked(seen: Guest) -> None:
    """All that is made of it."""
    parse_untrusted(trace_all, replace(machine(), guest=seen), "network")


@pytest.mark.parametrize("time", [1e300, float("inf"), float("nan"), -1.0, "soon", None])
def test_a_time_that_no_calendar_has_is_an_error(time: object) -> None:
    """Or the page that says when it was could not be drawn."""
    with pytest.raises(EvidenceError, match="time is not understood"):
        read({**TOLD, "look": {**TOLD["look"], "time": time}})


WAYS = list(places(TOLD))
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("-1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(way=st.sampled_from(WAYS), value=NONSENSE)
def test_nonsense_is_an_error_that_names_the_side(way: tuple[Any, ...], value: Any) -> None:
    told = copy.deepcopy(TOLD)
    at = told
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = value
    try:
        walked(read(told))
    except EvidenceError as error:
        assert str(error).startswith("guest: ")


@pytest.mark.parametrize("told", [{}, {"look": None}, {"look": []}, {"look": {}, "inside": {}}])
def test_what_is_missing_is_an_error(told: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError):
        read({"look": None, "inside": None, **told})
