"""Compare pages, to send only what changed. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Picture:
    """A page at one moment: ``sections`` are HTML by element id, ``broken`` a line for each broken chain.

    ``page`` renders all of it, given the content of its head.
    """

    sections: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    page: Callable[[str], str] = field(default=str, compare=False, repr=False)


@dataclass(frozen=True)
class Change:
    """The change from one picture to a later one: ``sections`` are new or differ, ``gone`` are ids that vanished.

    ``broke`` are lines of chains that were not broken before, ``mended`` of those that no longer are.
    """

    sections: Mapping[str, str]
    gone: tuple[str, ...]
    broke: tuple[str, ...]
    mended: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.sections or self.gone or self.broke or self.mended)

    def event(self) -> str:
        """Return the change as a server-sent event."""
        document = {
            "sections": dict(self.sections),
            "gone": self.gone,
            "broke": self.broke,
            "mended": self.mended,
        }
        return f"data: {json.dumps(document)}\n\n"


def changes_between(before: Picture, after: Picture) -> Change:
    """Return what changes a page of ``before`` into one of ``after``."""
    return Change(
        {key: html for key, html in after.sections.items() if before.sections.get(key) != html},
        tuple(key for key in before.sections if key not in after.sections),
        tuple(line for line in after.broken if line not in before.broken),
        tuple(line for line in before.broken if line not in after.broken),
    )
