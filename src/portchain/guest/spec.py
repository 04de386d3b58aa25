"""What a guest is made of."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
HOST_ACCESS_FILE = "host-access.json"
POLICY_FOLDER = "policy"
SHARES_FILE = "shares.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def parse_size(text: str | int) -> int:
    """Read a size as Docker writes it (``512m``, ``2g``, ``1048576``) into bytes; raise ValueError otherwise."""
    found = _SIZE.fullmatch(str(text).strip())
    if not found:
        raise ValueError(f"{text!r}: not a size; a number with k, m, g or t, such as 2g")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


@dataclass(frozen=True)
class GuestSpec:
    """One guest. Sizes are bytes, paths are on the host, ``images`` maps image names to root file systems.

    ``uplink`` says whether there is a way from the guest to where the host can go.
    """

    name: str
    hostname: str
    uid_base: int
    uid_count: int
    memory: int
    cpus: float
    pids: int
    subnet: str
    root: str
    images: dict[str, str]
    bundles: str
    source: str
    disk: str
    disk_size: int
    run_dir: str
    uplink: bool = True
    driver: str = "namespace"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"guest name {self.name!r}: lower-case letters, digits, - and _, at most 32")
        if self.uid_base < 65536 or self.uid_count < 65536:
            raise ValueError(
                f"guest {self.name}: uid_base {self.uid_base} and uid_count {self.uid_count} must be 65536 or more"
            )
        if self.network.prefixlen > 29:
            raise ValueError(f"guest {self.name}: subnet {self.subnet} is too small; a /29 or larger")

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The network between the guest's eth0 and its private gateway."""
        return ipaddress.IPv4Network(self.subnet)

    @property
    def gateway(self) -> str:
        """The gateway's address: the second of the subnet, as Docker Desktop has it."""
        return str(self.network[2])

    @property
    def address(self) -> str:
        """The address that eth0 is given: the third of the subnet."""
        return str(self.network[3])

    @property
    def state_file(self) -> Path:
        """Where the supervisor writes what it runs."""
        return Path(self.run_dir) / "state.json"

    @property
    def host_access_file(self) -> Path:
        """Where the ports of the host that the guest may reach are kept; read anew whenever it changes."""
        return Path(self.disk).with_name(HOST_ACCESS_FILE)

    @property
    def shares_file(self) -> Path:
        """Where the folders of the host that the guest has are kept; read anew whenever it changes."""
        return Path(self.disk).with_name(SHARES_FILE)

    @property
    def policy_folder(self) -> Path:
        """What the guest's services go by while it runs; the guest has it as /etc/portchain/policy."""
        return Path(self.disk).with_name(POLICY_FOLDER)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GuestSpec:
        """Build from parsed JSON; raise TypeError for unknown or missing keys, ValueError for bad values."""
        return cls(**data)

    @classmethod
    def load(cls, path: Path) -> GuestSpec:
        """Read a spec file."""
        return cls.from_dict(json.loads(path.read_text()))

    def dump(self) -> str:
        """The text of a spec file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
