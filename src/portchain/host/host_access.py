"""The ports of the host's loopback that a guest and its containers may reach. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from ..ports.syntax import PortRange


@dataclass(frozen=True)
class HostAccess:
    """The ports that may be reached, TCP and UDP; none if ``ranges`` is empty."""

    ranges: tuple[PortRange, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> HostAccess:
        """Read ports and ranges such as ``8080`` and ``8000-8100``; raise ValueError naming the wrong one."""
        ranges = tuple(PortRange.parse(str(text)) for text in texts)
        if any(not ports.first for ports in ranges):
            raise ValueError("0 is not a port that a server listens on; for all of them write 1-65535")
        return cls(ranges)

    @classmethod
    def load(cls, text: str) -> HostAccess:
        """Read the text of `dump`; raise ValueError."""
        ports = json.loads(text)
        if not isinstance(ports, list):
            raise ValueError("not a list of ports")
        return cls.parse(ports)

    def dump(self) -> str:
        """Return the text of the file that keeps the running guest's policy."""
        return json.dumps([str(ports) for ports in self.ranges]) + "\n"

    def allows(self, port: int) -> bool:
        """Return whether ``port`` may be reached."""
        return any(ports.first <= port <= ports.last for ports in self.ranges)

    def __str__(self) -> str:
        """Return the ports for people: ``8000-8100, 9000``, or ``nothing``."""
        return ", ".join(map(str, self.ranges)) or "nothing"
