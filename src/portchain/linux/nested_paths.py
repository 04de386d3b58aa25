"""Compare paths as text. Pure."""

from __future__ import annotations


def within(path: str, folder: str) -> bool:
    """Return whether ``path`` is ``folder`` or below it; both are absolute and normalized."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
