"""Make text from outside safe to show: it may hold escape sequences for a terminal or lines of its own. Pure."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    r"""Return ``text`` with escapes such as ``\x1b`` for characters that cannot be printed and are not in ``keep``."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else repr(letter)[1:-1] for letter in text)
