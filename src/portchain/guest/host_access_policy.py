"""Which ports of the host's loopback a guest and its containers may reach. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ..mapping.words import PortRange


@dataclass(frozen=True)
class HostAccess:
    """The TCP ports that may be reached; none where ``ranges`` is empty."""

    ranges: tuple[PortRange, ...] = ()

    @classmethod
    def parse(cls, words: Iterable[str]) -> HostAccess:
        """Read words such as ``8080`` and ``8000-8100``; raise ValueError naming the wrong one."""
        ranges = tuple(PortRange.parse(str(word)) for word in words)
        if any(not ports.first for ports in ranges):
            raise ValueError("0 is not a port that a server listens on; for all of them write 1-65535")
        return cls(ranges)

    @classmethod
    def load(cls, text: str) -> HostAccess:
        """Read what `dump` wrote; raise ValueError."""
        words = json.loads(text)
        if not isinstance(words, list):
            raise ValueError("not a list of ports")
        return cls.parse(words)

    def dump(self) -> str:
        """The text of the file in which the running guest's policy is kept."""
        return json.dumps([str(ports) for ports in self.ranges]) + "\n"

    def allows(self, port: int) -> bool:
        """Whether ``port`` may be reached."""
        return any(ports.first <= port <= ports.last for ports in self.ranges)

    def __str__(self) -> str:
        """For people: ``8000-8100, 9000``, or ``nothing``."""
        return ", ".join(map(str, self.ranges)) or "nothing"
