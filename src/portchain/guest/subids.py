"""Reserving a guest's range of user and group ids in /etc/subuid and /etc/subgid. Pure: text in, text out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True)
class Range:
    """``count`` ids from ``base`` up, reserved for ``owner``."""

    owner: str
    base: int
    count: int

    def overlaps(self, other: Range) -> bool:
        """Whether the two share an id."""
        return self.base < other.base + other.count and other.base < self.base + self.count


def owner(guest: str) -> str:
    """The name under which a guest's range is reserved."""
    return f"portchain-{guest}"


def parse(text: str) -> list[Range]:
    """The ranges in a subuid file; lines not understood are passed over, as shadow does."""
    fields = [line.split(":") for line in text.splitlines()]
    return [Range(f[0], int(f[1]), int(f[2])) for f in fields if len(f) == 3 and f[1].isdigit() and f[2].isdigit()]


def reserve(text: str, wanted: Range) -> str:
    """``text`` with exactly one line for the owner of ``wanted``."""
    return f"{release(text, wanted.owner)}{wanted.owner}:{wanted.base}:{wanted.count}\n"


def release(text: str, name: str) -> str:
    """``text`` without the lines of ``name``."""
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(f"{name}:"))
