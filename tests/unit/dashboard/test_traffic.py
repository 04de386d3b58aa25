from __future__ import annotations

from portchain.dashboard.traffic import COUNTERS, RateMeter, counts
from portchain.trace.chain import Chain, Hop


def chain(**values: int) -> Chain:
    veth = {"outer": {"sent_packets": values.get("veth", 0), "received_packets": 1}}
    hops = (
        Hop("forward", "host", "ok", "", facts={"connections": values.get("connections", 0), "active": "odd"}),
        Hop("veth", "guest", "ok", "", facts=veth),
    )
    return Chain(":8080", "127.0.0.1:8080", "tcp", "web", hops)


def column(name: str) -> int:
    return [counter[0] for counter in COUNTERS].index(name)


def test_each_hops_counter_is_in_its_column_and_what_does_not_count_is_none() -> None:
    found = counts(chain(connections=3, veth=9))
    assert (found[column("connections")], found[column("veth in")], found[column("veth out")]) == (3, 9, 1)
    assert found[column("open")] is None
    assert found[column("DNAT packets")] is None


def test_a_rate_is_what_came_since_the_look_before() -> None:
    meter = RateMeter()
    first = meter.read({":8080": chain(connections=2)}, 10.0)[":8080"][column("connections")]
    second = meter.read({":8080": chain(connections=8)}, 12.0)[":8080"][column("connections")]
    assert (first.value, first.rate) == (2, None)
    assert (second.value, second.rate) == (8, 3.0)


def test_a_counter_that_begins_anew_and_a_clock_that_stands_have_no_rate() -> None:
    meter = RateMeter()
    meter.read({":8080": chain(connections=5)}, 10.0)
    assert meter.read({":8080": chain(connections=1)}, 11.0)[":8080"][column("connections")].rate is None
    assert meter.read({":8080": chain(connections=2)}, 11.0)[":8080"][column("connections")].rate is None
