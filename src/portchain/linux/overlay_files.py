"""The files that are copied over a root file system: a folder with files, folders and symlinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# A file of this suffix stands for a symlink, and holds its target: an Ansible collection cannot have dangling symlinks.
LINK_SUFFIX = ".symlink"


def entries(folder: Path) -> Iterator[tuple[str, Path, str | None]]:
    """Yield each entry's name below ``folder``, its path, and its target if it is a symlink; parents come first."""
    for path in sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            yield name, path, str(path.readlink())
        elif path.suffix == LINK_SUFFIX:
            yield name.removesuffix(LINK_SUFFIX), path, path.read_text().strip()
        else:
            yield name, path, None
