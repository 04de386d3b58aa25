"""What the daemon of one guest is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..engine.service import EngineOptions
from ..guest.spec import SHARES_FILE
from ..mapping.forward import Endpoint, Forward
from ..mapping.policy import Policy

# The host's socket, and what it leads to in the guest.
SOCKETS = {
    "engine": "unix:/run/guest-services/docker.sock",
    "socks": "tcp:127.0.0.1:1080",
    **{
        name: f"unix:/run/guest-services/{name}.sock"
        for name in (
            "debug-shell",
            "devenv-service",
            "diagnostics",
            "evidence",
            "lifecycle-server",
            "ssh",
            "volume-contents",
        )
    },
}


@dataclass(frozen=True)
class Options:
    """Where the daemon of ``guest`` lives and whom its sockets belong to (uids)."""

    guest: str
    run_dir: Path
    state_dir: Path
    owner: int
    guest_uid: int
    policy: Policy

    @property
    def state_file(self) -> Path:
        """What keeps the forwards that were declared or added by hand."""
        return self.state_dir / "forwards.json"

    @property
    def sockets(self) -> list[Forward]:
        """The guest's sockets that every guest offers on the host."""
        return [
            Forward(Endpoint("unix", str(self.run_dir / f"{name}.sock")), Endpoint.parse(target))
            for name, target in SOCKETS.items()
        ]

    @property
    def engine(self) -> EngineOptions:
        """What serves docker.sock is to know."""
        return EngineOptions(
            guest=self.guest,
            run_dir=self.run_dir,
            chosen=self.state_dir / "ports.json",
            shares=self.state_dir / SHARES_FILE,
            policy=self.policy,
        )
