from __future__ import annotations

import logging
import sys

from portchain.linux.daemon_log import MAX_LENGTH, PrintableFormatter, RateLimit


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("test", logging.WARNING, __file__, 1, text, arguments, None)


def test_a_message_is_one_line_of_printable_text() -> None:
    hostile = "web\x1b[2J\nhost: all is well\u202e"
    assert PrintableFormatter().format(record("%s", hostile)) == r"web\x1b[2J\nhost: all is well\u202e"


def test_a_long_message_loses_its_middle() -> None:
    text = PrintableFormatter().format(record("begin %s end", "x" * 100_000))
    assert text.startswith("begin x") and text.endswith("x end") and len(text) < MAX_LENGTH + 10


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        failed = logging.LogRecord("test", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    first, *_, last = PrintableFormatter().format(failed).splitlines()
    assert (first, last) == ("failed", r"ValueError: \x1b[2J")


def test_a_flood_is_cut_and_counted() -> None:
    now = [0.0]
    limit = RateLimit(most=3, period=10, clock=lambda: now[0])
    assert [limit.filter(record("again")) for _ in range(5)] == [True, True, True, False, False]
    now[0] = 10.0
    later = record("later %s", "on")
    assert limit.filter(later)
    assert later.getMessage() == "(2 messages were left out) later on"
