"""The host's names: its /etc/hosts as its guest should see it, and who resolves the others. Pure."""

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


def nameservers(text: str) -> list[str]:
    """The addresses of the name servers in a resolv.conf, those of one link left out."""
    words = (line.split() for line in text.splitlines())
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [address for address in found if _is_address(address)]


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_link_local
    except ValueError:
        return False


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
