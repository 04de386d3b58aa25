"""Replace files as a whole, so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, text: str, mode: int = 0o644, *, durable: bool = False) -> None:
    """Replace ``path`` by a file with ``text`` and permissions ``mode``.

    A ``durable`` file is on disk before it gets its name, which takes as long as the disk is busy. Raise OSError; the
    old file is then unchanged.
    """
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        if durable:
            file.flush()
            os.fsync(descriptor)
    temporary.replace(path)


def update(path: Path, text: str, mode: int = 0o644) -> bool:
    """Call `replace` unless the file has ``text`` already; return whether it was replaced."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    replace(path, text, mode)
    return True
