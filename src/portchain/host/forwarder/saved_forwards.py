"""The forwards that were declared or added by hand, kept in a file across restarts of the daemon."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...linux import atomic_files
from ...ports.forward import Forward
from .forward_changes import read_forwards

# The inventory declares forwards; people add them manually.
ORIGINS = ("declared", "manual")

log = logging.getLogger(__name__)


def load(path: Path) -> dict[str, list[Forward]]:
    """Return the saved forwards of each origin. A file that cannot be parsed is renamed and counts as empty."""
    try:
        saved = json.loads(path.read_text())
        return {origin: read_forwards(saved.get(origin, [])) for origin in ORIGINS}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        aside = path.with_suffix(".broken")
        log.error("host: %s is damaged (%s): set aside as %s, starting with no forwards", path, error, aside)
        path.replace(aside)
        return {}


def save(path: Path, forwards: Mapping[str, Sequence[Forward]]) -> None:
    """Replace the file as a whole; raise OSError, and then leave the old file in place."""
    data = {origin: [forward.as_dict() for forward in of_origin] for origin, of_origin in forwards.items()}
    atomic_files.replace(path, json.dumps(data, indent=1), durable=True)
