"""Name resolution for a guest: the host's /etc/hosts as the guest should see it, name servers and domains. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from ..protocol.names import GUEST_NAMES, HOST_NAMES, OWN_DOMAINS, PROXY_NAMES, is_name

NO_SEARCH = (".",)
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_KNOWN = {*_LOOPBACK_NAMES, *HOST_NAMES, *GUEST_NAMES, *PROXY_NAMES}


def hosts_for_guest(text: str, gateway: str) -> str:
    """Return a hosts file for the guest from the host's, ``text``, with ``gateway`` in place of loopback addresses.

    The guest reaches servers on the host's loopback by way of its gateway. Lines that cannot be parsed, localhost, the
    names of Docker Desktop and link-local addresses are left out.
    """
    return "".join(f"{address} {' '.join(names)}\n" for address, names in _entries(text, gateway))


def dns_servers(hosts: str, upstream: str) -> str:
    """Return dnsmasq's servers-file, which sends all names that are not local to ``upstream`` (an address, or empty).

    Local are the names of ``hosts``, which `hosts_for_guest` returned: as on the host, a name with an address of one
    family there has none of the other.
    """
    lines = [f"server={upstream}"] if upstream else []
    lines += [f"server=/{domain}/" for domain in OWN_DOMAINS]
    names = dict.fromkeys(name.lower() for line in hosts.splitlines() for name in line.split()[1:])
    for name in filter(is_name, names):
        lines += [f"server=/{name}/", *([f"server=/*.{name}/{upstream}"] if upstream else [])]
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class NameResolution:
    """The name servers of a guest, as the host reaches them, and its search domains.

    The host's own are used in place of an empty tuple.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    @classmethod
    def parse(cls, servers: Iterable[str], search: Iterable[str]) -> NameResolution:
        """Read addresses and domains; raise ValueError naming the wrong one."""
        addresses = tuple(str(server).strip() for server in servers)
        domains = tuple(str(domain).strip().lower() for domain in search)
        for address in addresses:
            if not _is_server(address):
                raise ValueError(f"{address!r} is not the address of a name server, such as 10.0.0.53")
        if domains != NO_SEARCH:
            domains = tuple(domain.rstrip(".") for domain in domains)
            for domain in domains:
                if not is_name(domain):
                    raise ValueError(f"{domain!r} is not a domain such as corp.example, nor '.' alone for none")
        return cls(addresses, domains)

    @classmethod
    def load(cls, text: str) -> NameResolution:
        """Read the text of `dump`; raise TypeError or ValueError."""
        return cls.parse(**json.loads(text))

    def dump(self) -> str:
        """Return the text of the file that keeps the guest's name resolution."""
        return json.dumps(asdict(self)) + "\n"

    def name_servers(self, resolv_conf: str) -> list[str]:
        """Return the name servers; by default those of the host's ``resolv_conf`` that are not link-local."""
        if self.servers:
            return list(self.servers)
        addresses = [values[0] for key, *values in _directives(resolv_conf) if key == "nameserver" and values]
        return [address for address in addresses if _is_server(address)]

    def domains(self, resolv_conf: str) -> list[str]:
        """Return the search domains; by default those in the last such line of the host's ``resolv_conf``."""
        lines = [values for key, *values in _directives(resolv_conf) if key in ("search", "domain") and values]
        domains = self.search or [domain.lower().rstrip(".") for values in lines[-1:] for domain in values]
        return [domain for domain in domains if is_name(domain)]


def resolv_conf(server: str, domains: Iterable[str]) -> str:
    """Return the text of a resolv.conf."""
    search = " ".join(domains)
    return f"nameserver {server}\n" + (f"search {search}\n" if search else "")


def _directives(resolv_conf: str) -> list[list[str]]:
    """Return the words of each line that is not a comment."""
    return [words for line in resolv_conf.splitlines() if (words := line.split()) and words[0][0] not in "#;"]


def _is_server(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_link_local
    except ValueError:
        return False


def _entries(text: str, gateway: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the addresses and names of the guest's hosts file; see `hosts_for_guest`."""
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        names = [name for name in names if name.lower() not in _KNOWN and not name.lower().endswith(".localhost")]
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            continue
        if parsed.is_loopback:
            address = gateway
        elif parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
            continue
        if names:
            yield address, names
