"""The rules for values, read from sentences in the roles' argument_specs: ``Must be a size from 256m to 64t.``"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..host.docker_context import check_name
from ..host.guest_spec import GUEST_NAME, LONGEST_GUEST_PREFIX, parse_network, parse_size
from ..host.host_access import HostAccess
from ..host.name_resolution import NameResolution
from ..host.shares import Shares
from ..host.ssh_agent import SshAgent
from ..image.suites import SUITES
from ..ports.bind_policy import BindRule, Policy
from ..ports.forward import MAX_PATH, Endpoint
from ..ports.publication import parse_publication
from ..ports.syntax import parse_address
from ..protocol.egress import Egress, masked

_SENTENCE = re.compile(
    r"(?P<each>Each m|M)ust be (?:an? )?(?P<kind>[^,.]*?)(?P<empty> or empty)?"
    r" ?(?:from (?P<least>\S+) to (?P<most>\S+?))?(?:, such as .+)?\."
)
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_MAX_VALUE, _MAX_REASON = 60, 200  # characters of a value and of a reason in a message


def display(value: object) -> str:
    """Return ``value`` for a message, shortened if it is long."""
    return _cut(repr(value), _MAX_VALUE)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def parse_number(value: Any) -> int | float:
    """Read a number, which may be text where it was given on the command line; raise ValueError."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _text(value: Any) -> str:
    """Return a text that is not empty and has no null character; raise ValueError for anything else."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _matching(pattern: str | re.Pattern[str]) -> Callable[[Any], object]:
    """Return a reader of texts that match ``pattern``."""

    def read(value: Any) -> None:
        if not re.fullmatch(pattern, _text(value)):
            raise ValueError

    return read


def _parsed(parse: Callable[[str], object]) -> Callable[[Any], object]:
    """Return a reader of texts that ``parse`` accepts."""
    return lambda value: parse(_text(value))


def _path(value: Any) -> None:
    if not _text(value).startswith("/") or ".." in value.split("/"):
        raise ValueError


def _socket_path(value: Any) -> None:
    _path(value)
    if len(value.encode(errors="replace")) > MAX_PATH:
        raise ValueError(f"{display(value)}: a socket's path has at most {MAX_PATH} bytes")


def _word(value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        return
    if value != "":
        _text(value)


def _ports(value: Any) -> None:
    HostAccess.parse([str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)])


def _mac_address(value: Any) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", _text(value)):
        raise ValueError
    if int(value[:2], 16) & 1:
        raise ValueError(f"{value!r} is a multicast address; the first two digits must be an even number")


def _volume(value: Any) -> None:
    source, colon, rest = _text(value).partition(":")
    target = rest.partition(":")[0] if colon else source
    if not target.startswith("/") or not re.fullmatch(r"[/~.].*|[a-zA-Z0-9][a-zA-Z0-9_.-]+", source):
        raise ValueError


def _mapping(*keys: str) -> Callable[[Any], object]:
    def read(value: Any) -> None:
        if not isinstance(value, Mapping) or not {*keys} <= value.keys():
            raise ValueError

    return read


def _suite(value: Any) -> None:
    if value not in SUITES:
        raise ValueError(f"the suites are {', '.join(SUITES)}")


_WITH_PASSWORD = "proxy's URL"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_REFERENCE = rf"(?:{_HOST}(?:\.{_HOST})*(?::\d{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"(?::[a-zA-Z0-9_][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"

# Each reads a value or raises ValueError, with a message if there is more to say than the rule's sentence.
KINDS: Mapping[str, Callable[[Any], object]] = {
    "Debian suite": _suite,
    "IP address": _parsed(ipaddress.ip_address),
    "IPv4 address": _parsed(ipaddress.IPv4Address),
    "IPv4 network": _parsed(lambda text: parse_network(text, 30)),
    "IPv4 network for the guest": _parsed(lambda text: parse_network(text, LONGEST_GUEST_PREFIX)),
    "IPv6 address": _parsed(ipaddress.IPv6Address),
    "MAC address": _mac_address,
    "absolute path": _path,
    "address and ports": _parsed(BindRule.parse),
    "address or *": _parsed(lambda text: parse_address("" if text == "*" else text)),
    "address of a name server": _parsed(lambda text: NameResolution.parse([text], [])),
    "agent's socket": _parsed(SshAgent.parse),
    "container's name": _matching(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}"),
    "docker context's name": _parsed(check_name),
    "domain to search": _parsed(lambda text: NameResolution.parse([], [text])),
    "endpoint": _parsed(Endpoint.parse),
    "folder": _parsed(lambda text: Shares.parse([text])),
    "guest's name": _matching(GUEST_NAME),
    "host name": _matching(rf"(?=.{{1,64}}$){_HOST}(\.{_HOST})*"),
    "image's name": _matching(_COMPONENT),
    "image's reference": _matching(rf"(?a:(?=.{{1,255}}$){_REFERENCE}{_TAG})"),
    "mapping of listen and target": _mapping("listen", "target"),
    "mapping of name and ports": _mapping("name"),
    "mapping of path and reference": _mapping("path", "reference"),
    "name or address or network": _parsed(lambda text: Egress.parse([text])),
    "network's name": _matching(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"),
    "number": parse_number,
    "port or range of ports": _ports,
    "publication in quotes": _parsed(parse_publication),
    _WITH_PASSWORD: _parsed(lambda text: Egress.parse([], text)),
    "range of ports": _parsed(lambda text: Policy.parse([], text, None)),
    "size": parse_size,
    "socket's path": _socket_path,
    "text": lambda value: value if value == "" and isinstance(value, str) else _text(value),
    "user's name": _matching(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,31}"),
    "volume": _volume,
    "word": _word,
    "word of no_proxy": _parsed(lambda text: Egress.parse([], "", [text])),
}


@dataclass(frozen=True)
class ValueRule:
    """The rule of one sentence: the kind of value, whether it is for each element, and whether it may be empty.

    ``bounds`` are the least and the greatest value, if there are any.
    """

    sentence: str
    kind: str
    each: bool = False
    empty: bool = False
    bounds: tuple[str, str] | None = None

    @classmethod
    def find(cls, description: str | list[str]) -> ValueRule | None:
        """Find the rule in the last sentence of an option's description; return None if there is none.

        Raise ValueError for a sentence that begins as a rule and cannot be parsed.
        """
        lines = [description] if isinstance(description, str) else description
        plain = re.sub(r"\b[CV]\((.*?)\)", r"\1", lines[-1])
        start = re.search(r"(Each m|M)ust be ", plain)
        if start is None:
            return None
        match = _SENTENCE.fullmatch(plain[start.start() :])
        if match is None or match["kind"].strip() not in KINDS:
            raise ValueError(f"{plain[start.start() :]!r}: not a rule; the kinds are {', '.join(filter(None, KINDS))}")
        bounds = (match["least"], match["most"]) if match["least"] else None
        sentence = f"must{match[0].removesuffix('.').partition('ust')[2]}"
        return cls(sentence, match["kind"].strip(), match["each"] != "M", bool(match["empty"]), bounds)

    def read(self, value: Any) -> Any:
        """Return the value as the rule's kind reads it; raise ValueError saying what it must be."""
        if self.empty and value == "" and isinstance(value, str):
            return value
        try:
            result = KINDS[self.kind](value)
            if self.bounds:
                least, most = (KINDS[self.kind](bound) for bound in self.bounds)
                if not least <= result <= most:  # type: ignore[operator]
                    raise ValueError
        except ValueError as error:
            reason = f": {_cut(str(error), _MAX_REASON)}" if str(error) else yaml_hint(value)
            quoted = masked(value) if self.kind == _WITH_PASSWORD and isinstance(value, str) else value
            raise ValueError(f"{display(quoted)} {self.sentence}{reason}") from None
        return result if self.kind == "number" else value


def yaml_hint(value: object) -> str:
    """Return a hint about what YAML may have made of the value, for the end of a message; empty if there is none."""
    if isinstance(value, bool):
        return f"; YAML reads yes, no, on and off as {value}: put them in quotes if they are meant"
    return "" if isinstance(value, str | int | float) else f", and it is a {type(value).__name__}"
