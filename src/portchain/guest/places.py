"""Where things of the services are in the guest, laid out as LinuxKit does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTAINERS = "/containers"
KINDS = ("onboot", "services", "onshutdown")
NAMESPACE = "services.linuxkit"
FIFOS = "/run/logs"
LOGS = "/var/log"
SHARES = "/run/shares"
STARTS = "/run/starts"
VOLUMES = "/run/volumes"
_NUMBERED = re.compile(r"\d{3}-")


@dataclass(frozen=True)
class Bundle:
    """The folder of one container; those of onboot and onshutdown are numbered in the order of their turns."""

    kind: str
    folder: str

    @property
    def name(self) -> str:
        """The container's name."""
        return self.folder if self.kind == "services" else _NUMBERED.sub("", self.folder, count=1)

    @property
    def path(self) -> Path:
        """Its folder in the guest."""
        return Path(CONTAINERS) / self.kind / self.folder

    @property
    def runtime(self) -> dict[str, Any]:
        """What its runtime.json says."""
        found: dict[str, Any] = json.loads((self.path / "runtime.json").read_text())
        return found

    @property
    def rootfs(self) -> str:
        """Where the guest mounts its root."""
        return f"{self.path}/rootfs"


def bundles(*kinds: str) -> list[Bundle]:
    """The guest's containers of ``kinds``, or all, in order."""
    found = []
    for kind in kinds or KINDS:
        folder = Path(CONTAINERS) / kind
        found += [Bundle(kind, path.name) for path in sorted(folder.iterdir())] if folder.exists() else []
    return found
