"""What a terminal shows of a program's output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from portchain.dashboard.terminal_screen import MAX_ANSWER, MAX_SEQUENCE, Size, Terminal


def told(terminal: Terminal, data: bytes) -> dict[str, Any]:
    """The message about some output."""
    message: dict[str, Any] = json.loads(terminal.feed(data))
    return message


def rows(message: dict[str, Any]) -> dict[str, str]:
    """The text of the rows that changed, those without any left out."""
    texts = {number: "".join(text for text, _ in row) for number, row in message["rows"].items()}
    return {number: text for number, text in texts.items() if text}


def test_only_rows_that_changed_are_told() -> None:
    terminal = Terminal(Size(20, 4))
    assert rows(told(terminal, b"one\r\ntwo")) == {"0": "one", "1": "two"}
    message = told(terminal, b" more")
    assert message == {"above": [], "rows": {"1": [["two more", ""]]}, "lines": 4, "cursor": [8, 1]}


def test_what_scrolls_off_is_told_in_its_order() -> None:
    terminal = Terminal(Size(20, 3))
    message = told(terminal, b"\x1b[31m1\x1b[0m\r\n2\r\n3\r\n4\r\n5")
    assert message["above"] == [[["1", "fg-red"]], [["2", ""]]]
    assert rows(message) == {"0": "3", "1": "4", "2": "5"}
    assert told(terminal, b".")["above"] == []


@pytest.mark.parametrize(
    ("sequence", "looks"),
    [
        (b"1;32", "bold fg-green"),
        (b"4;44", "underscore bg-blue"),
        (b"95;105", "fg-brightmagenta bg-brightmagenta"),
        (b"38;5;208", "fg-ff8700"),
        (b"48;2;1;2;3", "bg-010203"),
        (b"7", "fg-ground bg-ink"),
        (b"7;31", "fg-ground bg-red"),
    ],
)
def test_looks_become_classes(sequence: bytes, looks: str) -> None:
    message = told(Terminal(Size(20, 3)), b"plain \x1b[" + sequence + b"mx")
    assert message["rows"]["0"] == [["plain ", ""], ["x", looks]]


def test_the_cursor_may_be_hidden() -> None:
    terminal = Terminal(Size(20, 3))
    assert told(terminal, b"\x1b[?25l")["cursor"] is None
    assert told(terminal, b"\x1b[?25h\x1b[2;5H")["cursor"] == [4, 1]
    assert told(terminal, b"x" * 16)["cursor"] == [19, 1]


def test_a_program_that_asks_where_the_cursor_is_is_answered_once() -> None:
    terminal = Terminal(Size(20, 3))
    terminal.feed(b"ab\x1b[6n")
    assert terminal.answers() == b"\x1b[1;3R"
    assert terminal.answers() == b""
    terminal.feed(b"\x1b[6n" * 10_000)
    assert len(terminal.answers()) <= MAX_ANSWER


def test_cursor_keys_are_as_the_program_wants_them() -> None:
    terminal = Terminal(Size(20, 3))
    keys = b"\x1b[A\x1b[5~x"
    assert terminal.typed(keys) == keys
    terminal.feed(b"\x1b[?1h")
    assert terminal.typed(keys) == b"\x1bOA\x1b[5~x"
    terminal.feed(b"\x1b[?1l")
    assert terminal.typed(keys) == keys


def test_a_smaller_screen_keeps_what_the_cursor_is_at() -> None:
    terminal = Terminal(Size(20, 4))
    terminal.feed(b"1\r\n2\r\n3\r\n4")
    terminal.resize(Size(20, 2))
    message = told(terminal, b"!")
    assert message["above"] == [[["1", ""]], [["2", ""]]]
    assert rows(message) == {"0": "3", "1": "4!"}
    assert (message["lines"], message["cursor"]) == (2, [2, 1])


def test_a_larger_screen_has_room_below() -> None:
    terminal = Terminal(Size(5, 2))
    terminal.feed(b"1\r\n2")
    terminal.resize(Size(20, 4))
    message = told(terminal, b"\r\n3 is longer")
    assert message["above"] == []
    assert rows(message) == {"0": "1", "1": "2", "2": "3 is longer"}


def test_letters_of_any_width_are_drawn_and_marks_do_not_pile_up() -> None:
    terminal = Terminal(Size(20, 3))
    assert rows(told(terminal, "你 a\u200db".encode())) == {"0": "你 ab"}
    message = rows(told(terminal, b"\r\n" + ("q" + "\u0316" * 1000).encode()))
    assert message["1"] == "q" + "\u0316" * 4


def test_what_makes_no_sense_costs_no_more_than_itself() -> None:
    terminal = Terminal(Size(20, 3))
    assert rows(told(terminal, b"a\x1b[?6n\x1b[1mb"))["0"] == "ab"


def test_a_sequence_without_end_is_ended() -> None:
    terminal = Terminal(Size(20, 3))
    terminal.feed(b"\x1b]0;")
    for _ in range(MAX_SEQUENCE // 4096 + 1):
        terminal.feed(b"t" * 4096)
    assert rows(told(terminal, b"\r\nseen"))["2"] == "seen"


@given(some.lists(some.binary(max_size=60), max_size=6), some.integers(2, 30), some.integers(2, 9))
def test_anything_may_be_printed(pieces: list[bytes], columns: int, lines: int) -> None:
    terminal = Terminal(Size(30, 9))
    for piece in pieces:
        terminal.feed(piece)
    terminal.resize(Size(columns, lines))
    message = told(terminal, b"\x1bc\x1b[?3lend")
    assert message["lines"] == lines
    assert message["cursor"] is None or message["cursor"][1] < lines
    assert all(int(number) < lines for number in message["rows"])


def test_sizes_are_read() -> None:
    assert Size.parse(b"") == Size(80, 24)
    assert Size.parse(b'{"columns": 100, "lines": 30}') == Size(100, 30)


@pytest.mark.parametrize("text", [b"x", b"[]", b"1", b'{"columns": 1}', b'{"lines": 301}', b'{"lines": "9"}', b"\xff"])
def test_sizes_that_make_no_sense_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Size.parse(text)
