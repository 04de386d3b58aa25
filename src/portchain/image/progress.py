"""Tell how far a build is, from the log of mmdebstrap. Pure."""

from __future__ import annotations

import re

_TOTAL = re.compile(r"^(\d+) (?:upgraded|packages upgraded), (\d+) newly installed", re.MULTILINE)
_STAGES = (
    ("finishing", re.compile(r"^I: (?:cleaning package lists|success)", re.MULTILINE)),
    ("setting up", re.compile(r"^Setting up ", re.MULTILINE)),
    ("unpacking", re.compile(r"^(?:Unpacking |I: extracting archives)", re.MULTILINE)),
    ("downloading", re.compile(r"^I: (?:downloading|running apt-get update)", re.MULTILINE)),
)


def describe(log: str) -> str:
    """Return the stage that ``log`` has reached, with counts if there are some: ``unpacking 40 of 121 packages``."""
    total = sum(int(match[2]) for match in _TOTAL.finditer(log))
    for stage, pattern in _STAGES:
        count = len(pattern.findall(log))
        if count:
            has_total = stage in ("setting up", "unpacking") and total >= count
            return f"{stage} {count} of {total} packages" if has_total else stage
    return "starting"
