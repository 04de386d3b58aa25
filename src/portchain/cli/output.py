"""Files that commands write."""

from __future__ import annotations

import os
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
    new = target if in_place else target.with_name(f".{target.name}.new")
    flags = os.O_WRONLY if in_place else os.O_RDWR | os.O_CREAT | os.O_TRUNC
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb" if in_place else "w+b") as file:
            yield file
        if not in_place:
            new.replace(target)
    except OSError as error:
        raise CommandError(f"host: {target} cannot be written: {error.strerror}") from error
    finally:
        if not in_place:
            new.unlink(missing_ok=True)
