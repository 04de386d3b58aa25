"""The specification of a guest: names, ids, sizes, images and folders."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([kmgt]?)i?b?", re.IGNORECASE | re.ASCII)
_SPECIAL_NETWORKS = [
    ipaddress.IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
]
# The network between the gateway and pasta; visible in the gateway only.
UPLINK_NETWORK = ipaddress.IPv4Network("192.168.66.0/24")
# The longest prefix that leaves addresses for the gateway and for eth0.
LONGEST_GUEST_PREFIX = 29
GREATEST_ID = 2**32 - 2  # of users and groups; the kernel uses the next one for "no change"
LEAST_ID = 65536  # the machine uses those below for its own users and groups
HOST_ACCESS_FILE = "host-access.json"
POLICY_FOLDER = "policy"
RESOLUTION_FILE = "resolution.json"
SHARES_FILE = "shares.json"
SSH_AGENT_FILE = "ssh-agent.json"
GUEST_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def parse_size(text: str | int) -> int:
    """Read a size as Docker writes it (``512m``, ``2g``, ``1048576``) into bytes; raise ValueError otherwise."""
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"{text!r}: not a size; a number with k, m, g or t, such as 2g")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def parse_network(text: str, longest_prefix: int) -> ipaddress.IPv4Network:
    """Read a network of ordinary unicast addresses, no smaller than ``longest_prefix``; raise ValueError."""
    network = ipaddress.IPv4Network(text)
    if network.prefixlen > longest_prefix:
        raise ValueError(f"{network} is too small; a /{longest_prefix} or larger")
    if any(network.overlaps(special) for special in _SPECIAL_NETWORKS):
        raise ValueError(f"{network} has loopback, link-local, multicast or reserved addresses")
    return network


@dataclass(frozen=True)
class GuestSpec:
    """The specification of one guest.

    Sizes are in bytes, paths are on the host, ``images`` maps image names to root file systems. ``uplink`` says whether
    the guest can reach the networks that the host can reach.
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
        if not GUEST_NAME.fullmatch(self.name):
            raise ValueError(f"guest name {self.name!r}: lower-case letters, digits, - and _, at most 32")
        if min(self.uid_base, self.uid_count) < LEAST_ID or self.uid_base + self.uid_count - 1 > GREATEST_ID:
            raise ValueError(
                f"guest {self.name}: uid_base {self.uid_base} and uid_count {self.uid_count} must be {LEAST_ID} or "
                f"more, and lead to {GREATEST_ID} at most"
            )
        try:
            parse_network(self.subnet, LONGEST_GUEST_PREFIX)
        except ValueError as error:
            raise ValueError(f"guest {self.name}: subnet: {error}") from None

    @property
    def uids(self) -> range:
        """The ids on the host of the guest's users and groups: all but the last, which is the relay's user."""
        return range(self.uid_base, self.uid_base + self.uid_count - 1)

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
        """The address of eth0: the third of the subnet."""
        return str(self.network[3])

    @property
    def state_file(self) -> Path:
        """The file in which the supervisor writes the guest's processes."""
        return Path(self.run_dir) / "state.json"

    @property
    def folder(self) -> Path:
        """The folder of the guest's disk and of its settings files, which are read again when they change."""
        return Path(self.disk).parent

    @property
    def host_access_file(self) -> Path:
        """The file of the host's ports that the guest may reach."""
        return self.folder / HOST_ACCESS_FILE

    @property
    def resolution_file(self) -> Path:
        """The file of the guest's name servers and search domains."""
        return self.folder / RESOLUTION_FILE

    @property
    def shares_file(self) -> Path:
        """The file of the host's folders that are shared with the guest."""
        return self.folder / SHARES_FILE

    @property
    def ssh_agent_file(self) -> Path:
        """The file of the host's SSH agent that the guest has, which is read again for each client."""
        return Path(self.disk).with_name(SSH_AGENT_FILE)

    @property
    def policy_folder(self) -> Path:
        """The folder of policies for the guest's services, which the guest has at /etc/portchain/policy."""
        return self.folder / POLICY_FOLDER

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GuestSpec:
        """Build a spec from parsed JSON; raise TypeError for unknown or missing keys, ValueError for bad values."""
        return cls(**data)

    @classmethod
    def load(cls, path: Path) -> GuestSpec:
        """Read a spec file; raise OSError, TypeError or ValueError."""
        return cls.from_dict(json.loads(path.read_text()))

    def dump(self) -> str:
        """Return the text of a spec file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
