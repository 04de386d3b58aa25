"""What a guest takes over while it runs: files beside its spec, which are read anew whenever they change."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .egress import Egress
from .host_access_policy import HostAccess
from .shares import Shares
from .spec import HOST_ACCESS_FILE, POLICY_FOLDER, SHARES_FILE

T = TypeVar("T")
_EGRESS_FILE = f"{POLICY_FOLDER}/egress.json"


@dataclass(frozen=True)
class Live:
    """The ports of the host that the guest may reach, where it may go, and the host's folders that it has."""

    access: HostAccess = field(default_factory=HostAccess)
    egress: Egress = field(default_factory=Egress)
    shares: Shares = field(default_factory=Shares)

    @classmethod
    def parse(cls, words: Mapping[str, Any]) -> Live:
        """Read the parameters of those names of the module guest; raise ValueError."""
        egress = Egress.parse(words["allowlist"], words["http_proxy"], words["no_proxy"])
        try:
            owner = pwd.getpwnam(words["owner"])
        except KeyError:
            raise ValueError(f"host: no user {words['owner']!r}, whose the shared folders are to be") from None
        shares = Shares.parse(words["shares"], owner.pw_dir, owner.pw_uid, owner.pw_gid)
        return cls(HostAccess.parse(words["host_access"]), egress, shares.resolved())

    @classmethod
    def load(cls, folder: Path) -> Live:
        """What the files in ``folder`` say; one that cannot be read is taken as empty."""
        return cls(
            _loaded(folder / HOST_ACCESS_FILE, HostAccess.load) or HostAccess(),
            _loaded(folder / _EGRESS_FILE, Egress.load) or Egress(),
            _loaded(folder / SHARES_FILE, Shares.load) or Shares(),
        )

    def differs(self, folder: Path) -> bool:
        """Whether a file in ``folder`` says something else."""
        return any(not path.exists() or path.read_text() != text for path, text in self._files(folder))

    def apply(self, folder: Path) -> bool:
        """Have the files in ``folder`` say so; returns whether they did not."""
        changed = self.differs(folder)
        for path, text in self._files(folder):
            if not path.exists() or path.read_text() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                half = path.with_suffix(".new")
                half.touch(0o600 if path.match(_EGRESS_FILE) else 0o644)
                half.write_text(text)
                half.rename(path)
        return changed

    def _files(self, folder: Path) -> list[tuple[Path, str]]:
        texts = {
            HOST_ACCESS_FILE: self.access.dump(),
            _EGRESS_FILE: self.egress.dump(),
            SHARES_FILE: self.shares.dump(),
        }
        return [(folder / name, text) for name, text in texts.items()]

    def __str__(self) -> str:
        """For people, without passwords."""
        return f"host_access: {self.access}\negress: {self.egress}\nshares: {self.shares}\n"


def _loaded(path: Path, load: Callable[[str], T]) -> T | None:
    try:
        return load(path.read_text())
    except (OSError, KeyError, TypeError, ValueError):
        return None
