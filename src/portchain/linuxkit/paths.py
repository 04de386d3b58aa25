"""Where things are in the guest, laid out as LinuxKit does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The search path for programs, in the guest and in its services.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTAINERS = "/containers"
KINDS = ("onboot", "services", "onshutdown")
NAMESPACE = "services.linuxkit"
FIFOS = "/run/logs"
LOGS = "/var/log"
SHARES = "/run/shares"
STARTS = "/run/starts"
VOLUMES = "/run/volumes"
# The engine's sockets: their names in the guest's folder on the host, and their paths in the docker service.
ENGINE_SOCKETS = {"docker.sock": "/var/run/docker.sock", "engine.sock": "/run/guest-services/docker.sock"}
SSH_AGENT = "/run/host-services/ssh-auth.sock"
_NUMBERED = re.compile(r"\d{3}-")


@dataclass(frozen=True)
class Bundle:
    """The folder of one container; those of onboot and onshutdown are numbered in the order in which they run."""

    kind: str
    folder: str

    @property
    def name(self) -> str:
        """The container's name."""
        return self.folder if self.kind == "services" else _NUMBERED.sub("", self.folder, count=1)

    @property
    def path(self) -> Path:
        """The bundle's folder in the guest."""
        return Path(CONTAINERS) / self.kind / self.folder

    @property
    def runtime(self) -> dict[str, Any]:
        """The content of its runtime.json."""
        content: dict[str, Any] = json.loads((self.path / "runtime.json").read_text())
        return content

    @property
    def rootfs(self) -> str:
        """The path at which the guest mounts its root."""
        return f"{self.path}/rootfs"


def bundles(*kinds: str) -> list[Bundle]:
    """Return the guest's containers of ``kinds``, or all, in order."""
    listed = []
    for kind in kinds or KINDS:
        folder = Path(CONTAINERS) / kind
        listed += [Bundle(kind, path.name) for path in sorted(folder.iterdir())] if folder.exists() else []
    return listed
