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
    """The size of a screen, in characters."""

    columns: int = 80
    lines: int = 24

    @classmethod
    def parse(cls, text: bytes) -> Size:
        """Parse ``{"columns": 80, "lines": 24}``, the default if empty; raise ValueError."""
        document = json.loads(text or b"{}")
        if not isinstance(document, dict):
            raise ValueError("expected columns and lines")
        size = cls(document.get("columns", cls().columns), document.get("lines", cls().lines))
        if not all(type(number) is int and 1 < number <= MAX_SIZE for number in size):
            raise ValueError(f"columns and lines are numbers from 2 to {MAX_SIZE}")
        return size


class _Screen(pyte.Screen):
    """A screen that keeps the rows that scroll off and the terminal's answers."""

    def __init__(self, size: Size) -> None:
        self.above: list[Row] = []
        self.answers = b""
        self._marks = 0
        super().__init__(size.columns, size.lines)

    def index(self) -> None:
        """Scroll up as pyte does, and keep the first row."""
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if self.cursor.y == bottom and top == 0:
            self.above.append(self.row(0))
        super().index()

    def draw(self, data: str) -> None:
        """Draw as pyte does, without letters of no width, at which pyte stops, and with few marks on a letter."""
        super().draw(data if data.isascii() else "".join(self._drawn(data)))

    def _drawn(self, data: str) -> Iterator[str]:
        for letter in data:
            mark = unicodedata.combining(letter) > 0
            self._marks = self._marks + 1 if mark else 0
            if self._marks <= _MOST_MARKS and (mark or wcwidth(letter) > 0):
                yield letter

    def write_process_input(self, data: str) -> None:
        """Keep what the terminal answers."""
        self.answers = (self.answers + data.encode())[:MAX_ANSWER]

    def shrink(self, lines: int) -> None:
        """Reduce the number of lines: rows above the cursor scroll off as far as needed."""
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
        """Return one row without the blanks at its end."""
        line = self.buffer[number]
        used = min(self.columns, max(line, default=-1) + 1)
        cells = ((line[x].data, _looks(line[x])) for x in range(used))
        runs = [("".join(text for text, _ in run), looks) for looks, run in groupby(cells, key=lambda cell: cell[1])]
        if runs and not runs[-1][1]:
            last = runs.pop()[0].rstrip(" ")
            runs += [(last, "")] if last else []
        return runs


def _looks(cell: Char) -> str:
    """Return a cell's classes."""
    fore, back = cell.fg, cell.bg
    if cell.reverse:
        fore, back = ("ground" if back == "default" else back), ("ink" if fore == "default" else fore)
    colours = [
        f"{ground}-{_MISSPELT.get(colour, colour)}"
        for ground, colour in (("fg", fore), ("bg", back))
        if colour != "default"
    ]
    return " ".join([*(name for name in _LOOKS if getattr(cell, name)), *colours])


class Terminal:
    """A terminal of a given size."""

    def __init__(self, size: Size) -> None:
        self._screen = _Screen(size)
        self._stream = pyte.ByteStream(self._screen)
        self._unended = 0

    def feed(self, data: bytes) -> str:
        """Take output of the program and return the changes for the page."""
        for part in _PARTS.findall(data):
            try:
                self._stream.feed(part)
            except Exception:  # pyte fails at some sequences that make no sense
                self._stream = pyte.ByteStream(self._screen)
        self._unended = 0 if self._stream._taking_plain_text else self._unended + len(data)
        if self._unended > MAX_SEQUENCE:
            self._stream = pyte.ByteStream(self._screen)
        return self._changes()

    def append_line(self, text: str) -> str:
        """Show a line of the dashboard's own and return the changes for the page."""
        return self.feed(f"\x1b[0m\r\n[{text}]\r\n".encode())

    def answers(self) -> bytes:
        """Return what the terminal has to send to the program, once."""
        answers, self._screen.answers = self._screen.answers, b""
        return answers

    def typed(self, data: bytes) -> bytes:
        """Encode keys as the program has asked for."""
        return _KEYS.sub(b"\x1bO\\1", data) if _CURSOR_KEYS in self._screen.mode else data

    def resize(self, size: Size) -> None:
        """Change the size."""
        if size.lines < self._screen.lines:
            self._screen.shrink(size.lines)
        self._screen.resize(size.lines, size.columns)

    def _changes(self) -> str:
        screen = self._screen
        rows = {number: screen.row(number) for number in sorted(screen.dirty) if number < screen.lines}
        cursor_visible = DECTCEM in screen.mode and not screen.cursor.hidden
        changes: dict[str, Any] = {
            "above": screen.above,
            "rows": rows,
            "lines": screen.lines,
            "cursor": [min(screen.cursor.x, screen.columns - 1), min(screen.cursor.y, screen.lines - 1)]
            if cursor_visible
            else None,
        }
        screen.above = []
        screen.dirty.clear()
        return json.dumps(changes, ensure_ascii=False, separators=(",", ":")) + "\n"
