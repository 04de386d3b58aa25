from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portchain.linux.subordinate_ids import IdRange, owner, parse_ranges, release, reserve

OTHERS = "alice:100000:65536\n"


def test_a_reservation_is_one_line_and_leaves_the_others() -> None:
    once = reserve(OTHERS, IdRange(owner("a"), 1_000_000, 1_000_000))
    assert once == "alice:100000:65536\nportchain-a:1000000:1000000\n"
    moved = reserve(once, IdRange(owner("a"), 3_000_000, 1_000_000))
    assert parse_ranges(moved) == [IdRange("alice", 100000, 65536), IdRange("portchain-a", 3_000_000, 1_000_000)]
    assert release(moved, owner("a")) == OTHERS


def test_lines_not_understood_are_passed_over() -> None:
    assert parse_ranges("# a comment\nbob:x:1\n" + OTHERS) == [IdRange("alice", 100000, 65536)]


ranges = st.builds(IdRange, st.just("x"), st.integers(0, 200), st.integers(1, 100))


@given(ranges, ranges)
def test_ranges_overlap_when_they_share_an_id(one: IdRange, other: IdRange) -> None:
    ids = [set(range(r.base, r.base + r.count)) for r in (one, other)]
    assert one.overlaps(other) == bool(ids[0] & ids[1])
