"""Where commands write: a file, or standard output."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .common import CommandError, UsageError

STDOUT = Path("/dev/stdout")


def output_path(options: argparse.Namespace, name: str) -> Path:
    """Return where ``--output`` leads: a file, a folder that gets ``name``, or ``-``; by default ``name`` here.

    Raise CommandError where that is impossible, so that it is known before anything is gathered.
    """
    requested: str | None = options.output
    if requested is None:
        return Path(name)
    if requested in ("-", str(STDOUT)):
        if options.json:
            raise UsageError("host: --json and --output - would both print; name a file")
        return STDOUT
    if not requested:
        raise UsageError("host: --output '' names no file")
    target = Path(requested)
    try:
        if target.is_dir():
            return target / name
        folder, name = (target, name) if requested.endswith("/") else (target.parent, target.name)
        if not folder.is_dir():
            raise CommandError(f"host: no folder {folder} to put {name} in")
    except OSError as error:
        raise CommandError(f"host: {target}: {error.strerror}") from None
    return target


@contextmanager
def open_output(target: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``target`` at the end, readable by its owner alone; raise CommandError.

    A device or a pipe is written to.
    """
    if target == STDOUT:
        yield sys.stdout.buffer
        return
    in_place = (target.exists() and not target.is_file()) or target.parent == STDOUT.parent
    temporary = ""
    try:
        if in_place:
            with target.open("wb") as file:
                yield file
            return
        # Under a name that nobody can have taken before: the folder may be everybody's.
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".portchain-")
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        Path(temporary).replace(target)
    except OSError as error:
        raise CommandError(f"host: {target} cannot be written: {error.strerror}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
