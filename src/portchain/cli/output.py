"""Files that commands write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .common import CommandError


def check_place(target: Path) -> None:
    """Raise CommandError where there is no folder for ``target``: to be said before it is gathered."""
    if not target.parent.is_dir():
        raise CommandError(f"host: no folder {target.parent} to put {target.name} in")


@contextmanager
def written(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``target`` as a whole at the end, for its owner alone; raise CommandError.

    A device or a pipe is written to.
    """
    check_place(target)
    in_place = target.exists() and not target.is_file()
    new = ""
    try:
        if in_place:
            with target.open("wb") as file:
                yield file
            return
        # Under a name that nobody can have taken before: the folder may be everybody's.
        descriptor, new = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        Path(new).replace(target)
    except OSError as error:
        raise CommandError(f"host: {target} cannot be written: {error.strerror}") from error
    finally:
        if new:
            Path(new).unlink(missing_ok=True)
