"""How wide texts are, and how they are shortened. Wide enough for DejaVu, which is wider than most."""

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


def width(text: str, size: float, looks: str = "") -> float:
    """How many pixels ``text`` takes in a font of ``size`` pixels; ``looks`` are its classes, mono and bold count."""
    words = looks.split()
    mono = "mono" in words
    thousandths = sum(_advance(c, mono) for c in text)
    return thousandths * size / 1000 * (_BOLD if "bold" in words and not mono else 1)


@lru_cache(4096)
def _advance(c: str, mono: bool) -> int:
    if unicodedata.combining(c):
        return 0
    if unicodedata.east_asian_width(c) in "WF":
        return 1250
    return _MONO if mono else _WIDTH.get(c, 700)


def elide(text: str, room: float, size: float, looks: str = "", tail: int = 0) -> str:
    """``text``, or as much of it as has room, with ``…`` before its last ``tail`` letters."""
    if width(text, size, looks) <= room:
        return text
    end = text[len(text) - tail :] if tail else ""
    for kept in range(len(text) - tail - 1, 0, -1):
        short = f"{text[:kept]}…{end}"
        if width(short, size, looks) <= room:
            return short
    return "…"


def plain(text: str, limit: int = 500) -> str:
    """Text of the guest's as one line without control characters, at most ``limit`` long."""
    return "".join(c if c.isprintable() else "�" for c in text[:limit]) + ("…" if len(text) > limit else "")


def wrap(words: list[str], room: float, size: float, between: str = " · ") -> list[str]:
    """Words in lines that have room."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}{between}{word}" if lines else word
        if lines and width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(elide(word, room, size))
    return lines
