"""The declared forwards, kept in a file across restarts of the daemon."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from ..mapping.forward import Forward
from .plan import read_forwards

log = logging.getLogger(__name__)


def load(path: Path) -> list[Forward]:
    """The kept forwards. A file that cannot be read is set aside and counts as empty."""
    try:
        return read_forwards(json.loads(path.read_text())["forwards"])
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        aside = path.with_suffix(".broken")
        log.error("host: %s is damaged (%s): set aside as %s, starting with no forwards", path, error, aside)
        path.replace(aside)
        return []


def save(path: Path, forwards: Iterable[Forward]) -> None:
    """Replace the file as a whole; raise OSError, the old file then stands."""
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        json.dump({"forwards": [forward.as_dict() for forward in forwards]}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
