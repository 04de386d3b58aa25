from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from portchain.dashboard.page_changes import Picture, changes_between

PICTURES = st.builds(
    Picture,
    st.dictionaries(st.sampled_from("abcd"), st.text(max_size=3)),
    st.lists(st.sampled_from(["1", "2", "3"]), unique=True).map(tuple),
)


@given(PICTURES, PICTURES)
def test_changes_make_the_later_of_the_earlier(before: Picture, after: Picture) -> None:
    change = changes_between(before, after)
    made = {key: html for key, html in (before.sections | change.sections).items() if key not in change.gone}
    assert made == after.sections
    assert set(before.broken) - set(change.mended) | set(change.broke) == set(after.broken)
    assert bool(change) == (before.sections != after.sections or set(before.broken) != set(after.broken))


def test_only_what_differs_is_sent() -> None:
    change = changes_between(Picture({"a": "1", "b": "1", "c": "1"}, ("x",)), Picture({"a": "1", "b": "2"}, ("y",)))
    assert json.loads(change.event().removeprefix("data: ")) == {
        "sections": {"b": "2"},
        "gone": ["c"],
        "broke": ["y"],
        "mended": ["x"],
    }


def test_an_event_is_one_whatever_is_in_it() -> None:
    event = changes_between(Picture(), Picture({"a": "1\n\ndata: 2\r\n\u2028"})).event()
    assert event.count("\n") == 2
    assert event.endswith("\n\n")
