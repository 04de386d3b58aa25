"""Files that a guest can only read, and that the supervisor keeps up to date while the guest runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path


class ShownFiles:
    """Files in ``folder`` with the contents that ``texts`` returns by name.

    A file is rewritten in place, because it is mounted elsewhere by itself, and is never empty meanwhile.
    """

    def __init__(self, folder: Path, texts: Callable[[], Mapping[str, str]]) -> None:
        self.folder = folder
        self._texts = texts
        self._written: dict[str, str] = {}

    def make(self) -> None:
        """Make the folder, which must not exist, and the files."""
        self.folder.mkdir()
        self._written = {}
        self.update()

    def update(self) -> None:
        """Write the files whose content has changed."""
        for name, text in self._texts().items():
            if text != self._written.get(name):
                path = self.folder / name
                path.touch()
                with path.open("r+b", buffering=0) as file:
                    file.truncate(file.write(text.encode()))
                self._written[name] = text
