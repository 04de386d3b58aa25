"""Which parts of a page are to be sent to someone who has an earlier one. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Picture:
    """A page at one moment: ``sections`` are HTML by element id, ``broken`` a line for each broken chain.

    ``page`` draws the whole of it, given what stands in its head.
    """

    sections: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    page: Callable[[str], str] = field(default=str, compare=False, repr=False)


@dataclass(frozen=True)
class Change:
    """From one picture to a later one. ``sections`` are new or other, ``gone`` ids that there are no more.

    ``broke`` and ``mended`` are lines of what was not broken before, or is no longer.
    """

    sections: Mapping[str, str]
    gone: tuple[str, ...]
    broke: tuple[str, ...]
    mended: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.sections or self.gone or self.broke or self.mended)

    def event(self) -> str:
        """As a server-sent event."""
        told = {
            "sections": dict(self.sections),
            "gone": self.gone,
            "broke": self.broke,
            "mended": self.mended,
        }
        return f"data: {json.dumps(told)}\n\n"


def between(before: Picture, after: Picture) -> Change:
    """What turns a page of ``before`` into one of ``after``."""
    return Change(
        {key: html for key, html in after.sections.items() if before.sections.get(key) != html},
        tuple(key for key in before.sections if key not in after.sections),
        tuple(line for line in after.broken if line not in before.broken),
        tuple(line for line in before.broken if line not in after.broken),
    )
