from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portchain.guest.subids import Range, owner, parse, release, reserve

OTHERS = "alice:100000:65536\n"


def test_a_reservation_is_one_line_and_leaves_the_others() -> None:
    once = reserve(OTHERS, Range(owner("a"), 1_000_000, 1_000_000))
    assert once == "alice:100000:65536\nportchain-a:1000000:1000000\n"
    moved = reserve(once, Range(owner("a"), 3_000_000, 1_000_000))
    assert parse(moved) == [Range("alice", 100000, 65536), Range("portchain-a", 3_000_000, 1_000_000)]
    assert release(moved, owner("a")) == OTHERS


def test_lines_not_understood_are_passed_over() -> None:
    assert parse("# a comment\nbob:x:1\n" + OTHERS) == [Range("alice", 100000, 65536)]


ranges = st.builds(Range, st.just("x"), st.integers(0, 200), st.integers(1, 100))


@given(ranges, ranges)
def test_ranges_overlap_when_they_share_an_id(one: Range, other: Range) -> None:
    ids = [set(range(r.base, r.base + r.count)) for r in (one, other)]
    assert one.overlaps(other) == bool(ids[0] & ids[1])
