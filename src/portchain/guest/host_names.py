"""The names in the host's /etc/hosts as its guest should see them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

_OWN = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


def hosts_for_guest(text: str, gateway: str) -> str:
    """A hosts file from the host's, ``text``: names of the host's loopback lead to ``gateway`` instead.

    For there, and not on the guest's own loopback, are the servers that the host means by them. Lines that cannot be
    read, names of localhost and addresses that mean something on one link or machine only are left out.
    """
    return "".join(f"{address} {' '.join(names)}\n" for address, names in _entries(text, gateway))


def _entries(text: str, gateway: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        names = [name for name in names if name not in _OWN and not name.endswith(".localhost")]
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            continue
        if found.is_loopback:
            address = gateway
        elif found.is_link_local or found.is_multicast or found.is_unspecified:
            continue
        if names:
            yield address, names
