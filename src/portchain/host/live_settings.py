"""Settings that change while a guest runs: files beside its spec, which are read again when they change."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..linux import atomic_files
from ..protocol.egress import Egress
from .guest_spec import HOST_ACCESS_FILE, POLICY_FOLDER, RESOLUTION_FILE, SHARES_FILE, SSH_AGENT_FILE
from .host_access import HostAccess
from .name_resolution import NameResolution
from .shares import Shares
from .ssh_agent import SshAgent

T = TypeVar("T")
_EGRESS_FILE = f"{POLICY_FOLDER}/egress.json"


@dataclass(frozen=True)
class LiveSettings:
    """The settings of a running guest.

    They are the host's ports and folders and the SSH agent that it may use, what it may reach outside, and its name
    servers.
    """

    access: HostAccess = field(default_factory=HostAccess)
    egress: Egress = field(default_factory=Egress)
    shares: Shares = field(default_factory=Shares)
    agent: SshAgent = field(default_factory=SshAgent)
    resolution: NameResolution = field(default_factory=NameResolution)

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> LiveSettings:
        """Read the parameters of the Ansible module ``guest``; raise ValueError."""
        egress = Egress.parse(parameters["allowlist"], parameters["http_proxy"], parameters["no_proxy"])
        try:
            owner = pwd.getpwnam(parameters["owner"])
        except KeyError:
            raise ValueError(f"host: there is no user {parameters['owner']!r} to own the shared folders") from None
        shares = Shares.parse(parameters["shares"], owner.pw_dir, owner.pw_uid, owner.pw_gid)
        agent = SshAgent.parse(parameters["ssh_agent"], owner.pw_dir, owner.pw_uid, owner.pw_gid)
        resolution = NameResolution.parse(parameters["dns_servers"], parameters["dns_search"])
        return cls(HostAccess.parse(parameters["host_access"]), egress, shares.resolved(), agent, resolution)

    @classmethod
    def load(cls, folder: Path) -> LiveSettings:
        """Read the files in ``folder``; one that cannot be read counts as empty."""
        return cls(
            _loaded(folder / HOST_ACCESS_FILE, HostAccess.load) or HostAccess(),
            _loaded(folder / _EGRESS_FILE, Egress.load) or Egress(),
            _loaded(folder / SHARES_FILE, Shares.load) or Shares(),
            _loaded(folder / SSH_AGENT_FILE, SshAgent.load) or SshAgent(),
            _loaded(folder / RESOLUTION_FILE, NameResolution.load) or NameResolution(),
        )

    def differs(self, folder: Path) -> bool:
        """Return whether a file in ``folder`` is missing or has other settings."""
        return any(not path.exists() or path.read_text() != text for path, text in self._files(folder))

    def apply(self, folder: Path) -> bool:
        """Write the files in ``folder`` that differ; return whether any did."""
        changed = self.differs(folder)
        for path, text in self._files(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_files.update(path, text, 0o600 if path.match(_EGRESS_FILE) else 0o644)
        return changed

    def _files(self, folder: Path) -> list[tuple[Path, str]]:
        texts = {
            HOST_ACCESS_FILE: self.access.dump(),
            _EGRESS_FILE: self.egress.dump(),
            SHARES_FILE: self.shares.dump(),
            SSH_AGENT_FILE: self.agent.dump(),
            RESOLUTION_FILE: self.resolution.dump(),
        }
        return [(folder / name, text) for name, text in texts.items()]

    def __str__(self) -> str:
        """Return the settings for people, without passwords."""
        texts = f"host_access: {self.access}\negress: {self.egress}\nshares: {self.shares}\nssh_agent: {self.agent}\n"
        return f"{texts}dns: {self.resolution.dump()}"


def _loaded(path: Path, load: Callable[[str], T]) -> T | None:
    try:
        return load(path.read_text())
    except (OSError, KeyError, TypeError, ValueError):
        return None
