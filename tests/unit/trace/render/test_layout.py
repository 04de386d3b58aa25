"""Nothing in the picture covers anything else, and lines do not cross."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from portchain.ports.forward import Endpoint
from portchain.trace.judge.chains import trace, trace_all
from portchain.trace.model import Machine, WantedPublication
from portchain.trace.query import Query
from portchain.trace.render.layout import layout
from portchain.trace.render.scene import scene
from portchain.trace.render.shapes import WIDTH, Drawing, Rect, Text, Wire
from support.building import Box, Builder, Net
from support.machines import big, hostile, seed

MACHINES = {"seed": seed(), "big": big(), "hostile": hostile()}


def drawn(machine: Machine) -> Drawing:
    """Its picture."""
    return layout(scene(machine, trace_all(machine)))


def apart(one: Rect, other: Rect) -> bool:
    """Whether they have no point in common."""
    beside = one.right <= other.left or other.right <= one.left
    return beside or one.bottom <= other.top or other.bottom <= one.top


def holds(one: Rect, other: Rect) -> bool:
    """Whether the second is within the first."""
    across = one.left <= other.left and other.right <= one.right
    return across and one.top <= other.top and other.bottom <= one.bottom


def height(wire: Wire, x: float) -> float:
    """Where a line is at ``x``: it leaves and arrives level."""
    part = (x - wire.x) / (wire.to_x - wire.x)
    return wire.y + (wire.to_y - wire.y) * part * part * (3 - 2 * part)


def cross(one: Wire, other: Wire) -> bool:
    """Whether two lines cross; to meet at an end is not to cross."""
    left, right = max(one.x, other.x), min(one.to_x, other.to_x)
    if left >= right:
        return False
    points = [left + (right - left) * n / 24 for n in range(25)]
    apart = [height(one, x) - height(other, x) for x in points]
    return min(apart) < -0.01 and max(apart) > 0.01


def crossings(picture: Drawing) -> int:
    """How many pairs of lines cross."""
    wires = [shape for shape in picture.shapes if isinstance(shape, Wire)]
    return sum(cross(*pair) for pair in combinations(wires, 2))


def test_crossing_lines_are_told_from_those_that_meet() -> None:
    assert cross(Wire(0, 0, 10, 10, ""), Wire(0, 10, 10, 0, ""))
    assert cross(Wire(0, 5, 30, 5, ""), Wire(10, 0, 20, 10, ""))
    assert not cross(Wire(0, 0, 10, 5, ""), Wire(0, 10, 10, 5, ""))
    assert not cross(Wire(0, 0, 10, 10, ""), Wire(20, 10, 30, 0, ""))


@pytest.mark.parametrize("name", MACHINES)
def test_no_lines_cross(name: str) -> None:
    picture = drawn(MACHINES[name])
    assert len([one for one in picture.shapes if isinstance(one, Wire)]) > 30
    assert crossings(picture) == 0


@pytest.mark.parametrize("name", MACHINES)
def test_texts_cover_neither_each_other_nor_the_edge_of_a_box(name: str) -> None:
    picture = drawn(MACHINES[name])
    texts = [(shape.text, shape.box) for shape in picture.shapes if isinstance(shape, Text)]
    boxes = [shape for shape in picture.shapes if isinstance(shape, Rect)]
    whole = Rect(0, 0, WIDTH, picture.height, "")
    assert [text for text, place in texts if not holds(whole, place)] == []
    assert [(one[0], other[0]) for one, other in combinations(texts, 2) if not apart(one[1], other[1])] == []
    assert [text for text, place in texts for box in boxes if not apart(box, place) and not holds(box, place)] == []


@pytest.mark.parametrize("name", MACHINES)
def test_boxes_are_within_or_beside_each_other(name: str) -> None:
    boxes = [shape for shape in drawn(MACHINES[name]).shapes if isinstance(shape, Rect)]
    odd = [
        (one, other)
        for one, other in combinations(boxes, 2)
        if not apart(one, other) and not holds(one, other) and not holds(other, one)
    ]
    assert odd == []


NETS = [Net(f"net{n}", f"br-{n}{n}{n}", f"172.2{n}.0", 16) for n in range(4)]


@some.composite
def machines(draw: some.DrawFn) -> Machine:
    """Up to eight containers, each in up to two networks that are neighbours, with up to four ports."""
    boxes = []
    for n in range(draw(some.integers(1, 8))):
        first = draw(some.integers(0, 3))
        other = draw(some.sampled_from([(), (first + 1,)]))
        names = tuple(NETS[k].name for k in (first, *other) if k < 4)
        ports = tuple((1000 + 10 * n + k, 1000 + 10 * n + k, 80 + k, "tcp") for k in range(draw(some.integers(0, 4))))
        boxes.append(Box(f"box{n}", names, ports, state=draw(some.sampled_from(["running", "running", "exited"]))))
    return Builder(NETS, boxes).machine()


@given(machines())
def test_any_machine_is_drawn_without_texts_upon_each_other(machine: Machine) -> None:
    places = [shape.box for shape in drawn(machine).shapes if isinstance(shape, Text)]
    assert all(apart(*pair) for pair in combinations(places, 2))


def test_one_container_between_two_networks_needs_no_crossing() -> None:
    boxes = [
        Box("a", ("net0",), ((1000, 1000, 80, "tcp"),)),
        Box("b", ("net0", "net2"), ((1001, 1001, 80, "tcp"), (1002, 1002, 81, "tcp"))),
        Box("c", ("net1",), ((1003, 1003, 80, "tcp"),)),
        Box("d", ("net2",), ((1004, 1004, 80, "tcp"),)),
    ]
    assert crossings(drawn(Builder(NETS, boxes).machine())) == 0


def test_a_chain_that_is_broken_is_red_to_the_hop_that_breaks_it_and_dotted_beyond() -> None:
    picture = drawn(big())
    (search,) = [one for one in picture.chains if one.port == "9200"]
    assert search.state == "broken"
    looks = [shape.looks for shape in search.shapes if isinstance(shape, Wire)]
    assert looks == ["hand", "wire", "broken", "skipped", "skipped", "skipped"]
    (reason,) = [one for one in search.shapes if isinstance(one, Text) and one.looks == "bad"]
    assert reason.text.startswith("✕ dnat-missing: no nat rule")
    assert {one.looks for chain in picture.chains if chain.state == "whole" for one in chain.shapes} == {
        *("wire", "hand", "port", "rule", "mono portink", "mono ruleink", "")
    }


def test_what_breaks_all_chains_of_a_container_is_said_once() -> None:
    machine = seed()
    assert machine.guest
    boxes = [replace(one, state="paused") if one.name == "minikube" else one for one in machine.guest.containers]
    picture = drawn(replace(machine, guest=replace(machine.guest, containers=tuple(boxes))))
    reasons = [one for chain in picture.chains for one in chain.shapes if isinstance(one, Text) and one.looks == "bad"]
    assert len([one for one in picture.chains if one.state == "broken"]) == 5
    assert len(reasons) == 1
    assert reasons[0].y > max(shape.top for shape in picture.chains[-1].shapes if isinstance(shape, Rect))
    assert any(one.text.startswith("paused 192.168.49.2 pid") for one in picture.above if isinstance(one, Text))
    assert sum(shape.looks == "pair" for shape in picture.below if isinstance(shape, Rect)) == 2


def test_a_port_that_is_not_forwarded_is_known_by_what_the_container_wants() -> None:
    machine = seed()
    assert machine.guest
    (box,) = [one for one in machine.guest.containers if one.name == "nginx"]
    lost = replace(box, attachments=(), wanted=(WantedPublication(80, "tcp", Endpoint("tcp", "", 9028), None),))
    machine = replace(machine, guest=replace(machine.guest, containers=(lost,)))
    found = trace(machine, Query(9028))
    picture = layout(scene(machine, [found], whole=False))
    assert ":80" in [one.text for chain in picture.chains for one in chain.shapes if isinstance(one, Text)]


def test_containers_without_ports_or_networks_are_there_as_well() -> None:
    texts = [shape.text for shape in drawn(big()).shapes if isinstance(shape, Text)]
    assert {"idle", "sandbox", "migrate", "own network"} <= set(texts)
    assert "Exited (137) 2 hours ago; wants 5999" in texts


@pytest.mark.parametrize(
    ("forwarder", "away", "looks"),
    [
        ({}, 0, "box"),
        ({"channel_pid": 0}, 1, "box broken"),
        ({"channel_pid": 0, "relay_pid": 0}, 2, "box broken"),
    ],
    ids=["all there", "no channel", "no relay"],
)
def test_what_of_relay_and_channel_is_away_is_said(forwarder: dict[str, int], away: int, looks: str) -> None:
    machine = seed()
    assert machine.host.forwarder
    host = replace(machine.host, forwarder=replace(machine.host.forwarder, **forwarder))
    picture = drawn(replace(machine, host=host))
    texts = [one.text for one in picture.above if isinstance(one, Text)]
    assert texts.count("away") == away
    assert ("pid 1155" in texts) == (away < 2)
    assert [one.looks for one in picture.below if isinstance(one, Rect) and "hands over" in one.title] == [looks]
