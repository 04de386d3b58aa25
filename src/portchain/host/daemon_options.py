"""The options of one guest's daemon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..linuxkit import host_sockets
from ..ports.bind_policy import Policy
from .docker_api.docker_socket import EngineOptions
from .docker_api.records import RECORDS_FILE
from .forwarder.api import ControlOptions


@dataclass(frozen=True)
class DaemonOptions:
    """The directories of a guest's daemon, its policy, and the owners of its sockets.

    ``owner`` is the uid of the guest's user on the host, ``guest_uid`` that of the guest's root.
    """

    guest: str
    run_dir: Path
    state_dir: Path
    owner: int
    guest_uid: int
    policy: Policy

    @property
    def state_file(self) -> Path:
        """The file of the forwards that were declared or added by hand."""
        return self.state_dir / "forwards.json"

    @property
    def sockets_file(self) -> Path:
        """The file that names the sockets offered to the host by the guest's services."""
        return self.state_dir / host_sockets.FILE

    @property
    def control(self) -> ControlOptions:
        """The options of the control interface."""
        return ControlOptions(self.guest, self.run_dir, self.state_file, self.policy)

    @property
    def engine(self) -> EngineOptions:
        """The options of docker.sock."""
        return EngineOptions(
            guest=self.guest,
            run_dir=self.run_dir,
            state_dir=self.state_dir,
            records=self.state_dir / RECORDS_FILE,
            policy=self.policy,
        )
