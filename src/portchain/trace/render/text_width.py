"""Measure and shorten texts, as if in DejaVu, which is wider than most fonts."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# Advance widths of DejaVu Sans in thousandths of the font's size.
_WIDTHS = {
    278: "ijl|",
    318: " .,·",
    337: ":;/\\",
    352: "f",
    395: "()[]rt-",
    530: "cszTLF_",
    592: "vxyk",
    636: "0123456789abdeghnopquSEJ$#",
    700: "ABCKPRVXYZ<>=+~",
    838: "wDGHNOQU→↔✕%&",
    1000: "mMW@…",
}
_WIDTH = {letter: width for width, letters in _WIDTHS.items() for letter in letters}
_BOLD = 1.13
_MONO = 603


def width(text: str, size: float, classes: str = "") -> float:
    """Return the width of ``text`` in pixels in a font of ``size`` pixels; of the classes, mono and bold count."""
    class_names = classes.split()
    mono = "mono" in class_names
    thousandths = sum(_advance(letter, mono) for letter in text)
    return thousandths * size / 1000 * (_BOLD if "bold" in class_names and not mono else 1)


@lru_cache(4096)
def _advance(letter: str, mono: bool) -> int:
    if unicodedata.combining(letter):
        return 0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1250
    return _MONO if mono else _WIDTH.get(letter, 700)


def elide(text: str, room: float, size: float, classes: str = "", tail: int = 0) -> str:
    """Return ``text``, shortened to ``room`` if need be, with ``…`` before its last ``tail`` letters."""
    if width(text, size, classes) <= room:
        return text
    end = text[len(text) - tail :] if tail else ""
    for kept in range(len(text) - tail - 1, 0, -1):
        short = f"{text[:kept]}…{end}"
        if width(short, size, classes) <= room:
            return short
    return "…"


def plain(text: str, limit: int = 500) -> str:
    """Return the guest's text in one line without control characters, at most ``limit`` letters."""
    return "".join(letter if letter.isprintable() else "�" for letter in text[:limit]) + (
        "…" if len(text) > limit else ""
    )


def wrap(words: list[str], room: float, size: float, between: str = " · ") -> list[str]:
    """Wrap words into lines of at most ``room`` pixels."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}{between}{word}" if lines else word
        if lines and width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(elide(word, room, size))
    return lines
