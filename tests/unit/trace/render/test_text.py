"""Texts are measured and shortened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from portchain.trace.render.text_width import elide, plain, width, wrap


def test_wider_letters_take_more_room() -> None:
    assert width("iii", 12) < width("nnn", 12) < width("mmm", 12) < width("mmm", 12, "bold")
    assert width("iii", 12, "mono") == width("mmm", 12, "mono")
    assert width("漢字", 12) > width("ab", 12)


@given(some.text(), some.floats(0, 300))
def test_what_is_shortened_has_room(text: str, room: float) -> None:
    short = elide(text, room, 12)
    assert short in (text, "…") or (width(short, 12) <= room and text.startswith(short.removesuffix("…")))


def test_the_end_is_kept_where_it_matters() -> None:
    assert elide("[2001:db8:1234:5678::1]:8080", 100, 12, "mono", tail=6) == "[2001:…]:8080"


@given(some.text())
def test_no_control_character_is_left(text: str) -> None:
    assert plain(text).isprintable()


def test_words_go_to_lines_that_have_room() -> None:
    lines = wrap(["one", "two", "three", "a-word-that-is-too-long-for-any-line"], 90, 12)
    assert lines[0] == "one · two"
    assert all(width(line, 12) <= 90 for line in lines)
