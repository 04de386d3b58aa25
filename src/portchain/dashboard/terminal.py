"""A terminal's screen: what a program's output makes of it, as messages for a page. Pure.

The messages are lines of JSON: ``above`` the rows that left the screen at its top, ``rows`` those that changed by their
number, ``lines`` how many the screen has, ``cursor`` its column and row, or null while it is hidden. A row is a list of
runs, each a text and its classes: bold, italics, underscore, strikethrough, blink, and fg- and bg- with a colour's name
or its six hexadecimal digits.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import pyte
from pyte.modes import DECTCEM
from pyte.screens import Char, Margins
from wcwidth import wcwidth

_CURSOR_KEYS = 1 << 5  # DECCKM: cursor keys send SS3 for CSI
_KEYS = re.compile(rb"\x1b\[([ABCDHF])")
_PARTS = re.compile(rb"\x1b?[^\x1b]+|\x1b")
_MOST_MARKS = 4  # on one letter
_LOOKS = ("bold", "italics", "underscore", "strikethrough", "blink")
_MISSPELT = {"bfightmagenta": "brightmagenta"}  # as pyte has it
MAX_SIZE = 300
MAX_ANSWER = 256  # bytes
MAX_SEQUENCE = 1 << 16  # bytes of a sequence that has not ended

Row = list[tuple[str, str]]


class Size(NamedTuple):
    """Of a screen, in characters."""

    columns: int = 80
    lines: int = 24

    @classmethod
    def parse(cls, text: bytes) -> Size:
        """Read ``{"columns": 80, "lines": 24}``, nothing for that size; raise ValueError."""
        told = json.loads(text or b"{}")
        if not isinstance(told, dict):
            raise ValueError("expected columns and lines")
        size = cls(told.get("columns", cls().columns), told.get("lines", cls().lines))
        if not all(type(one) is int and 1 < one <= MAX_SIZE for one in size):
            raise ValueError(f"columns and lines are numbers from 2 to {MAX_SIZE}")
        return size


class _Screen(pyte.Screen):
    """Keeps what scrolls off, and what the terminal answers."""

    def __init__(self, size: Size) -> None:
        self.above: list[Row] = []
        self.answers = b""
        self._marks = 0
        super().__init__(size.columns, size.lines)

    def index(self) -> None:
        """As pyte's."""
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if self.cursor.y == bottom and top == 0:
            self.above.append(self.row(0))
        super().index()

    def draw(self, data: str) -> None:
        """As pyte's, which would end at a letter without width, and pile up marks without end."""
        super().draw(data if data.isascii() else "".join(self._drawn(data)))

    def _drawn(self, data: str) -> Iterator[str]:
        for letter in data:
            mark = unicodedata.combining(letter) > 0
            self._marks = self._marks + 1 if mark else 0
            if self._marks <= _MOST_MARKS and (mark or wcwidth(letter) > 0):
                yield letter

    def write_process_input(self, data: str) -> None:
        """As pyte's."""
        self.answers = (self.answers + data.encode())[:MAX_ANSWER]

    def shrink(self, lines: int) -> None:
        """Have fewer lines: what is above the cursor scrolls off as far as it must."""
        off = max(0, self.cursor.y - lines + 1)
        self.above += [self.row(number) for number in range(off)]
        kept = {number - off: self.buffer[number] for number in range(off, off + lines)}
        self.buffer.clear()
        self.buffer.update(kept)
        self.cursor.y -= off
        self.lines = lines
        self.margins = None
        self.dirty.update(range(lines))

    def row(self, number: int) -> Row:
        """One row without the blanks at its end."""
        line = self.buffer[number]
        used = min(self.columns, max(line, default=-1) + 1)
        cells = ((line[x].data, _looks(line[x])) for x in range(used))
        runs = [("".join(text for text, _ in run), looks) for looks, run in groupby(cells, key=lambda cell: cell[1])]
        if runs and not runs[-1][1]:
            last = runs.pop()[0].rstrip(" ")
            runs += [(last, "")] if last else []
        return runs


def _looks(cell: Char) -> str:
    fore, back = cell.fg, cell.bg
    if cell.reverse:
        fore, back = ("ground" if back == "default" else back), ("ink" if fore == "default" else fore)
    colours = [f"{what}-{_MISSPELT.get(one, one)}" for what, one in (("fg", fore), ("bg", back)) if one != "default"]
    return " ".join([*(name for name in _LOOKS if getattr(cell, name)), *colours])


class Terminal:
    """What a terminal of a size shows."""

    def __init__(self, size: Size) -> None:
        self._screen = _Screen(size)
        self._stream = pyte.ByteStream(self._screen)
        self._unended = 0

    def take(self, data: bytes) -> str:
        """What changes with more output."""
        for part in _PARTS.findall(data):
            try:
                self._stream.feed(part)
            except Exception:  # pyte fails at some sequences that make no sense
                self._stream = pyte.ByteStream(self._screen)
        self._unended = 0 if self._stream._taking_plain_text else self._unended + len(data)
        if self._unended > MAX_SEQUENCE:
            self._stream = pyte.ByteStream(self._screen)
        return self._changes()

    def say(self, text: str) -> str:
        """What changes with a line of the dashboard's own."""
        return self.take(f"\x1b[0m\r\n[{text}]\r\n".encode())

    def answers(self) -> bytes:
        """What the terminal has to say to the program, once."""
        told, self._screen.answers = self._screen.answers, b""
        return told

    def typed(self, data: bytes) -> bytes:
        """Keys as the program has asked for them."""
        return _KEYS.sub(b"\x1bO\\1", data) if _CURSOR_KEYS in self._screen.mode else data

    def resize(self, size: Size) -> None:
        """Have another size."""
        if size.lines < self._screen.lines:
            self._screen.shrink(size.lines)
        self._screen.resize(size.lines, size.columns)

    def _changes(self) -> str:
        screen = self._screen
        rows = {number: screen.row(number) for number in sorted(screen.dirty) if number < screen.lines}
        shown = DECTCEM in screen.mode and not screen.cursor.hidden
        told: dict[str, Any] = {
            "above": screen.above,
            "rows": rows,
            "lines": screen.lines,
            "cursor": [min(screen.cursor.x, screen.columns - 1), min(screen.cursor.y, screen.lines - 1)]
            if shown
            else None,
        }
        screen.above = []
        screen.dirty.clear()
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n"
