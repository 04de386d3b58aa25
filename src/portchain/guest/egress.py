"""Where a guest and its containers may go by name, and through which proxy. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from urllib.parse import unquote, urlsplit

PROXY_PORT = 3128
# Where the service allowlist answers, in the guest, for what is not allowed.
REFUSING_PROXY = ("127.0.0.1", 3129)
REFUSING_DNS = ("127.0.0.1", 3130)
OWN_DOMAIN = "docker.internal"
_REVERSE = ("in-addr.arpa", "ip6.arpa")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_SCHEMES = {"http": "http", "socks4": "socks4", "socks5": "socks5", "socks5h": "socks5"}
_HOSTS_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|::1")
_LONGEST_NAME = 253
_SHOWN = 5


@dataclass(frozen=True)
class Egress:
    """``allowlist``: names, ``*.name`` for all below it, addresses and networks; empty allows everything.

    ``http_proxy`` is a URL, or empty for none; ``no_proxy`` are the words that the variable of that name may have.
    """

    allowlist: tuple[str, ...] = ()
    http_proxy: str = ""
    no_proxy: tuple[str, ...] = ()

    @classmethod
    def parse(cls, allowlist: Iterable[str], http_proxy: str = "", no_proxy: Iterable[str] = ()) -> Egress:
        """Check and bring into one form; raise ValueError naming the wrong word."""
        if http_proxy:
            _upstream(http_proxy)
        direct = [place for word in no_proxy if str(word).strip() for place in _past_proxy(str(word).strip())]
        allowed = tuple(_place(str(word)) for word in allowlist)
        return cls(allowed, http_proxy, tuple(dict.fromkeys(direct)))

    @classmethod
    def load(cls, text: str) -> Egress:
        """Read what `dump` wrote; raise ValueError."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.keys() - cls.__dataclass_fields__:
            raise ValueError(f"not an object with {', '.join(cls.__dataclass_fields__)}")
        return cls.parse(**data)

    def dump(self) -> str:
        """The text of the file in which the running guest's rules are kept."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def __str__(self) -> str:
        """For people, without the proxy's password."""
        return json.dumps({**asdict(self), "http_proxy": _masked(self.http_proxy)})

    def refusal(self, name: str) -> str:
        """The sentence, in ASCII and on one line, that says why ``name`` is not to be had."""
        more = len(self.allowlist) - _SHOWN
        allowed = ", ".join(self.allowlist[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        shown = "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:255])
        return f"{shown} is not allowed: the guest's allowlist (guest_allowlist) has {allowed or 'nothing'}"

    def dns_servers(self, upstream: str) -> str:
        """dnsmasq's servers-file: ``upstream`` (an address) is asked for what is allowed, and only for that."""
        if not self.allowlist:
            return f"server={upstream}\n"
        address, port = REFUSING_DNS
        refuser = f"{address}#{port}"
        lines = [f"server={refuser}", *(f"server=/{name}/{upstream}" for name in (OWN_DOMAIN, *_REVERSE))]
        for word in self.allowlist:
            if word.startswith("*."):
                lines.append(f"server=/{word}/{upstream}")
            elif not _network(word):
                # dnsmasq takes a name for all that is below it, too.
                lines.append(f"server=/{word}/{upstream}")
                if f"*.{word}" not in self.allowlist:
                    lines.append(f"server=/*.{word}/{refuser}")
        return "\n".join(lines) + "\n"

    def proxy_rules(self, subnet: str) -> str:
        """tinyproxy's configuration. Of its rules for one place the last counts; one without a place is the default."""
        outward = _upstream(self.http_proxy) if self.http_proxy and "*" not in self.no_proxy else "none"
        lines = [f"Port {PROXY_PORT}", "Timeout 600", "MaxClients 512", "DisableViaHeader Yes", "LogLevel Connect"]
        if self.allowlist:
            address, port = REFUSING_PROXY
            lines.append(f"Upstream http {address}:{port}")
            lines += [_rule(outward, word) for word in self.allowlist]
        elif outward != "none":
            lines.append(f"Upstream {outward}")
        lines += [_rule("none", word) for word in (*self._direct(), f"*.{OWN_DOMAIN}", subnet)]
        return "\n".join(lines) + "\n"

    def _direct(self) -> list[str]:
        """The allowed places that are reached past the proxy."""
        if not self.allowlist:
            return [word for word in self.no_proxy if word != "*"]
        pairs = [(place, word) for place in self.allowlist for word in self.no_proxy]
        inner = [place for place, word in pairs if _within(place, word)]
        return inner + [word for place, word in pairs if _within(word, place)]


def _place(text: str) -> str:
    """A name, ``*.name``, address or network in lower case; raise ValueError."""
    word = text.strip().lower().rstrip(".")
    if _network(word):
        return word
    if not _is_name(word.removeprefix("*.")):
        raise ValueError(f"{text!r} is not a name such as quay.io or *.docker.io, an address or a network")
    return word


def _is_name(word: str) -> bool:
    return len(word) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in word.split("."))


def _past_proxy(word: str) -> list[str]:
    """The places that a word of no_proxy means: ``example.com`` all below it, too, ``.example.com`` only those."""
    if word == "*":
        return [word]
    name = re.sub(r":\d+$", "", word) if word.count(":") == 1 else word
    if name.startswith((".", "*.")):
        return [_place(f"*.{name.lstrip('*').lstrip('.')}")]
    place = _place(name)
    return [place] if _network(place) else [place, f"*.{place}"]


def _upstream(url: str) -> str:
    """tinyproxy's words for the proxy at ``url``; one on the host's loopback is reached through the gateway."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}@" if parts.username else ""
    if _HOSTS_LOOPBACK.fullmatch(host):
        host = f"host.{OWN_DOMAIN}"
    if parts.scheme not in _SCHEMES or not _is_name(host):
        form = "http://[user:password@]host:port or socks5://…, with a name or IPv4 address as host"
        raise ValueError(f"{_masked(url)!r} is not the URL of a proxy: {form}")
    if re.search(r"[\s\"@]", login[:-1]):
        raise ValueError("a proxy's user or password with blanks, quotes or @ cannot be used")
    return f"{_SCHEMES[parts.scheme]} {login}{host}:{port or (80 if parts.scheme == 'http' else 1080)}"


def _masked(url: str) -> str:
    """``url`` without its user and password."""
    return re.sub(r"[^/]*@", "***@", url)


def _rule(outward: str, place: str) -> str:
    return f'Upstream {outward} "{place.removeprefix("*")}"'


def _network(word: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(word)
    except ValueError:
        return None


def _within(inner: str, outer: str) -> bool:
    """Whether all that ``inner`` stands for is in ``outer``."""
    one, other = _network(inner), _network(outer)
    if one and other:
        return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]
    return outer in (inner, "*") or (outer.startswith("*.") and inner.removeprefix("*").endswith(outer[1:]))
