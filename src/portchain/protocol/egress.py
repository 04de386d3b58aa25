"""Where a guest and its containers may connect by name, and through which proxy. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from urllib.parse import unquote, urlsplit

from .names import OWN_DOMAIN, OWN_DOMAINS, is_name

PROXY_PORT = 3128
# Where the allowlist service, in the guest, answers clients that ask for what is not allowed.
REFUSING_PROXY = ("127.0.0.1", 3129)
REFUSING_DNS = ("127.0.0.1", 3130)
_REVERSE = ("in-addr.arpa", "ip6.arpa")
_SCHEMES = {"http": "http", "socks4": "socks4", "socks5": "socks5", "socks5h": "socks5"}
_HOSTS_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|::1")
_MAX_LISTED = 5


@dataclass(frozen=True)
class Egress:
    """The rules for outgoing connections.

    ``allowlist`` has names, ``*.name`` for all names below one, addresses and networks; if it is empty, everything is
    allowed. ``http_proxy`` is a URL, or empty for none. ``no_proxy`` has entries of the variable of that name.
    """

    allowlist: tuple[str, ...] = ()
    http_proxy: str = ""
    no_proxy: tuple[str, ...] = ()

    @classmethod
    def parse(cls, allowlist: Iterable[str], http_proxy: str = "", no_proxy: Iterable[str] = ()) -> Egress:
        """Check the rules and normalize them; raise ValueError naming what is wrong."""
        if http_proxy:
            _format_upstream(http_proxy)
        entries = [text for entry in no_proxy if (text := str(entry).strip())]
        direct = [destination for entry in entries for destination in _expand_no_proxy(entry)]
        allowed = tuple(_parse_destination(str(entry)) for entry in allowlist)
        return cls(allowed, http_proxy, tuple(dict.fromkeys(direct)))

    @classmethod
    def load(cls, text: str) -> Egress:
        """Parse what `dump` returned; raise ValueError."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.keys() - cls.__dataclass_fields__:
            raise ValueError(f"not an object with {', '.join(cls.__dataclass_fields__)}")
        return cls.parse(**data)

    def dump(self) -> str:
        """Return the text of the file in which the running guest's rules are kept."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def __str__(self) -> str:
        """Format for people, without the proxy's password."""
        return json.dumps({**asdict(self), "http_proxy": masked(self.http_proxy)})

    def refusal(self, name: str) -> str:
        """Return a sentence, in ASCII and on one line, that says why ``name`` is not allowed."""
        more = len(self.allowlist) - _MAX_LISTED
        allowed = ", ".join(self.allowlist[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
        printable = "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:255])
        return f"{printable} is not allowed: the guest's allowlist (guest_allowlist) has {allowed or 'nothing'}"

    def dns_servers(self, upstream: str) -> str:
        """Return dnsmasq's servers-file: ``upstream`` (an address) is asked only for what is allowed."""
        if not self.allowlist:
            return f"server={upstream}\n"
        address, port = REFUSING_DNS
        refuser = f"{address}#{port}"
        lines = [f"server={refuser}", *(f"server=/{name}/{upstream}" for name in (*OWN_DOMAINS, *_REVERSE))]
        for entry in self.allowlist:
            if entry.startswith("*."):
                lines.append(f"server=/{entry}/{upstream}")
            elif not _parse_network(entry):
                # To dnsmasq, a name stands for all names below it, too.
                lines.append(f"server=/{entry}/{upstream}")
                if f"*.{entry}" not in self.allowlist:
                    lines.append(f"server=/*.{entry}/{refuser}")
        return "\n".join(lines) + "\n"

    def proxy_rules(self, subnet: str) -> str:
        """Return tinyproxy's configuration. Its last rule for a destination counts; one without any is the default."""
        outward = _format_upstream(self.http_proxy) if self.http_proxy and "*" not in self.no_proxy else "none"
        lines = [f"Port {PROXY_PORT}", "Timeout 600", "MaxClients 512", "DisableViaHeader Yes", "LogLevel Connect"]
        if self.allowlist:
            address, port = REFUSING_PROXY
            lines.append(f"Upstream http {address}:{port}")
            lines += [_rule(outward, entry) for entry in self.allowlist]
        elif outward != "none":
            lines.append(f"Upstream {outward}")
        own = (f"*.{OWN_DOMAIN}", *OWN_DOMAINS[1:])
        lines += [_rule("none", destination) for destination in (*self._direct(), *own, subnet)]
        return "\n".join(lines) + "\n"

    def _direct(self) -> list[str]:
        """Return the allowed destinations that are reached without the proxy."""
        if not self.allowlist:
            return [entry for entry in self.no_proxy if entry != "*"]
        pairs = [(allowed, direct) for allowed in self.allowlist for direct in self.no_proxy]
        inner = [allowed for allowed, direct in pairs if _within(allowed, direct)]
        return inner + [direct for allowed, direct in pairs if _within(direct, allowed)]


def _parse_destination(text: str) -> str:
    """Return a name, ``*.name``, address or network in lower case; raise ValueError."""
    destination = text.strip().lower().rstrip(".")
    if _parse_network(destination):
        return destination
    if not is_name(destination.removeprefix("*.")):
        raise ValueError(f"{text!r} is not a name such as quay.io or *.docker.io, an address or a network")
    return destination


def _expand_no_proxy(entry: str) -> list[str]:
    """Return what a no_proxy entry covers: a name and all below it, or after a leading dot, only those below it."""
    if entry == "*":
        return [entry]
    name = re.sub(r":\d+$", "", entry) if entry.count(":") == 1 else entry
    if name.startswith((".", "*.")):
        return [_parse_destination(f"*.{name.lstrip('*').lstrip('.')}")]
    destination = _parse_destination(name)
    return [destination] if _parse_network(destination) else [destination, f"*.{destination}"]


def _format_upstream(url: str) -> str:
    """Return the proxy at ``url`` in tinyproxy's syntax; one on the host's loopback is reached through the gateway.

    Raise ValueError if it is not the URL of a proxy.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}@" if parts.username else ""
    if _HOSTS_LOOPBACK.fullmatch(host):
        host = f"host.{OWN_DOMAIN}"
    if parts.scheme not in _SCHEMES or not is_name(host):
        form = "http://[user:password@]host:port or socks5://…, with a name or IPv4 address as host"
        raise ValueError(f"{masked(url)!r} is not the URL of a proxy: {form}")
    if re.search(r"[\s\"@]", login[:-1]):
        raise ValueError("a proxy's user or password with blanks, quotes or @ cannot be used")
    return f"{_SCHEMES[parts.scheme]} {login}{host}:{port or (80 if parts.scheme == 'http' else 1080)}"


def masked(url: str) -> str:
    """Return ``url`` without its user and password."""
    return re.sub(r"[^/]*@", "***@", url)


def _rule(upstream: str, destination: str) -> str:
    return f'Upstream {upstream} "{destination.removeprefix("*")}"'


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _within(inner: str, outer: str) -> bool:
    """Return whether ``outer`` includes all that ``inner`` stands for."""
    inner_network, outer_network = _parse_network(inner), _parse_network(outer)
    if inner_network and outer_network:
        if inner_network.version != outer_network.version:
            return False
        return inner_network.subnet_of(outer_network)  # type: ignore[arg-type]
    return outer in (inner, "*") or (outer.startswith("*.") and inner.removeprefix("*").endswith(outer[1:]))
