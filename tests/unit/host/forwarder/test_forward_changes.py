"""From the declared forwards to the wanted ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portchain.host.forwarder.forward_changes import plan_changes, read_forwards
from portchain.ports.conflicts import clash
from portchain.ports.forward import Endpoint, Forward

LISTENS = st.builds(
    Endpoint,
    st.just("tcp"),
    st.sampled_from(["", "0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1"]),
    st.integers(1, 3),
)
FORWARDS = st.builds(Forward, LISTENS, st.builds(Endpoint, st.just("tcp"), st.just("127.0.0.1"), st.integers(1, 3)))


def without_clashes(forwards: list[Forward]) -> list[Forward]:
    kept: list[Forward] = []
    for forward in forwards:
        if not any(clash(forward.listen, f.listen) for f in kept):
            kept.append(forward)
    return kept


SETS = st.lists(FORWARDS).map(without_clashes)


@given(SETS, SETS)
def test_the_steps_lead_to_what_is_wanted(current: list[Forward], wanted: list[Forward]) -> None:
    steps = plan_changes(current, wanted)
    after = {f.listen: f for f in current if f not in steps.close}
    after |= {f.listen: f for f in (*steps.retarget, *steps.open)}
    assert set(after.values()) == set(wanted)
    assert steps.changed == (set(current) != set(wanted))


@given(SETS, SETS)
def test_what_makes_way_is_all_that_stands_in_the_way(current: list[Forward], wanted: list[Forward]) -> None:
    steps = plan_changes(current, wanted)
    assert set(steps.make_way) <= set(steps.close)
    staying = [f for f in current if f not in steps.make_way]
    assert not any(clash(f.listen, o.listen) for f in staying for o in steps.open)


@given(SETS)
def test_forwards_read_back(forwards: list[Forward]) -> None:
    assert read_forwards([f.as_dict() for f in forwards]) == forwards


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (None, "expected a list"),
        (["x"], r"forwards\[0\]: expected"),
        ([{"target": "127.0.0.1:1"}], "listen is missing"),
        ([{"listen": ":1", "target": "127.0.0.1:1", "colour": 1}], "unknown key colour"),
        ([{"listen": ":70000", "target": "127.0.0.1:1"}], "not a port"),
        ([{"listen": ":0", "target": "127.0.0.1:1"}], "port from 1 to 65535"),
        (
            [{"listen": ":1", "target": "127.0.0.1:1", "protocol": "udp", "proxy_protocol": "v2"}],
            "for tcp, not for udp",
        ),
        ([{"listen": "udp::1", "target": "unix:/x"}], "a udp socket needs a udp target"),
        ([{"listen": ":1", "target": "udp:127.0.0.1:1"}], "a udp socket needs a udp target"),
        ([{"listen": ":1", "target": ":1"}], "a target is an address"),
        ([{"listen": ":1", "target": "127.0.0.1:0"}], "port 0 is not a target"),
        ([{"listen": ":1", "target": "127.0.0.1:1"}, {"listen": "[::1]:1", "target": "127.0.0.1:1"}], "both"),
    ],
)
def test_what_is_wrong_is_named(items: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_forwards(items)
