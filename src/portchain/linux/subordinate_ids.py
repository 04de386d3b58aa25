"""Reserve a guest's range of user and group ids in the texts of /etc/subuid and /etc/subgid. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True)
class IdRange:
    """A range of ``count`` ids from ``base`` up, reserved for ``owner``."""

    owner: str
    base: int
    count: int

    @property
    def ids(self) -> range:
        """The ids of the range."""
        return range(self.base, self.base + self.count)

    def overlaps(self, other: IdRange) -> bool:
        """Return whether the two ranges share an id."""
        return self.base < other.base + other.count and other.base < self.base + self.count


def owner(guest: str) -> str:
    """Return the name for which a guest's range is reserved."""
    return f"portchain-{guest}"


def parse_ranges(text: str) -> list[IdRange]:
    """Parse the ranges in a subuid file; ignore lines that are not valid, as shadow does."""
    rows = [line.split(":") for line in text.splitlines()]
    return [
        IdRange(row[0], int(row[1]), int(row[2]))
        for row in rows
        if len(row) == 3 and row[1].isdigit() and row[2].isdigit()
    ]


def reserve(text: str, wanted: IdRange) -> str:
    """Return ``text`` with exactly one line for the owner of ``wanted``."""
    return f"{release(text, wanted.owner)}{wanted.owner}:{wanted.base}:{wanted.count}\n"


def release(text: str, name: str) -> str:
    """Return ``text`` without the lines of owner ``name``."""
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(f"{name}:"))
