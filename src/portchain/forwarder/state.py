"""The forwards that were asked for, by origin, kept in a file across restarts of the daemon."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..mapping.forward import Forward
from .plan import read_forwards

# Declared by the inventory, and added by hand.
ORIGINS = ("declared", "manual")

log = logging.getLogger(__name__)


def load(path: Path) -> dict[str, list[Forward]]:
    """The kept forwards of each origin. A file that cannot be read is set aside and counts as empty."""
    try:
        kept = json.loads(path.read_text())
        return {origin: read_forwards(kept.get(origin, [])) for origin in ORIGINS}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        aside = path.with_suffix(".broken")
        log.error("host: %s is damaged (%s): set aside as %s, starting with no forwards", path, error, aside)
        path.replace(aside)
        return {}


def save(path: Path, forwards: Mapping[str, Sequence[Forward]]) -> None:
    """Replace the file as a whole; raise OSError, the old file then stands."""
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        json.dump({origin: [one.as_dict() for one in kept] for origin, kept in forwards.items()}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
