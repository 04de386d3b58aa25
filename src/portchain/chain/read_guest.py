"""Reads what a guest tells of itself into the model. Pure; the guest is not trusted: raise EvidenceError."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..engine.picture import read_row
from ..engine.publications import Published, split_key
from ..mapping.forward import Endpoint
from ..mapping.words import bracketed
from .model import (
    Attachment,
    Container,
    Guest,
    Link,
    Listener,
    Network,
    Process,
    Publication,
    Route,
    Service,
    Space,
)
from .read_flows import flows
from .rules import iptables, nft

_BRIDGE_NAME = "com.docker.network.bridge.name"
_MOST = 10_000
_MOST_PROBLEMS = 100
_END_OF_TIME = 1 << 33  # seconds since the epoch: in the year 2242
_KINDS = ("local", "unicast", "broadcast", "multicast", "unreachable", "blackhole", "prohibit", "throw", "anycast")

Told = Mapping[str, Any]
T = TypeVar("T")


class EvidenceError(Exception):
    """What a side tells is not to be had, or makes no sense; the message says which and what to do."""


def guarded(read: Callable[[Any], T], told: Any, what: str) -> T:
    """What ``read`` makes of ``told``; EvidenceError where it is not as it should be."""
    try:
        return read(told)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise EvidenceError(f"guest: what it tells of its {what} is not understood: {error!r}"[:300]) from None


def guest(told: Told) -> Guest:
    """The answer to ``look``."""
    containers = guarded(lambda rows: tuple(container(row) for row in rows[:_MOST]), told["containers"], "containers")
    return Guest(
        time=guarded(moment, told.get("time"), "time"),
        space=guarded(space, told["space"], "network"),
        containers=containers,
        networks=guarded(lambda rows: tuple(network(row) for row in rows[:_MOST]), told["networks"], "networks"),
        services=guarded(lambda rows: tuple(service(row) for row in rows[:_MOST]), told["services"], "services"),
        flows=guarded(lambda text: tuple(flows(str(text))), told["conntrack"], "connections"),
        problems=problems(told),
    )


def moment(told: Any) -> float:
    """Seconds since the epoch; ValueError where no calendar has them."""
    if not 0 <= (seconds := float(told)) < _END_OF_TIME:
        raise ValueError(f"{seconds} is no time")
    return seconds


def problems(told: Told) -> tuple[str, ...]:
    """What the guest says that it cannot tell, none of it long."""
    return tuple(str(one)[:300] for one in told.get("problems", ())[:_MOST_PROBLEMS])


def space(told: Told) -> Space:
    """A network namespace."""
    rules = iptables.parse(str(told["iptables"]), "ip").joined(iptables.parse(str(told["ip6tables"]), "ip6"))
    if told.get("nft"):
        rules = rules.joined(nft.parse(str(told["nft"]), rules.tables))
    return Space(
        inode=int(told["inode"]),
        links=links(_list(told["links"]), told.get("route_localnet")),
        routes=tuple(route(row) for text in (told["routes"], told["routes6"]) for row in _list(text)),
        listeners=tuple(listener(row) for row in told.get("listeners", ())[:_MOST]),
        rules=rules,
        ip_forward=told["sysctls"].get("ip_forward") != "0",
    )


def _list(text: str) -> list[Told]:
    found = json.loads(text) if text.strip() else []
    return [row for row in found[:_MOST] if row]


def links(rows: list[Told], localnet: Collection[str] | None = None) -> tuple[Link, ...]:
    """All links; the bridge that one is a port of is told by name. ``localnet`` are those with route_localnet."""
    numbers = {str(row["ifname"]): int(row["ifindex"]) for row in rows}
    everywhere = localnet is None or "all" in localnet
    return tuple(
        replace(
            link(row),
            master=numbers.get(str(row.get("master", "")), 0),
            route_localnet=everywhere or row["ifname"] in (localnet or ()),
        )
        for row in rows
    )


def link(row: Told) -> Link:
    """A link as ``ip -json -details -statistics address`` has it."""
    kind = row.get("linkinfo", {}).get("info_kind", "")
    stats = row.get("stats64", {})
    inward, outward = stats.get("rx", {}), stats.get("tx", {})
    flags = row.get("flags", [])
    return Link(
        index=int(row["ifindex"]),
        name=str(row["ifname"]),
        kind="loopback" if "LOOPBACK" in flags else str(kind),
        peer=int(row.get("link_index") or 0),
        up="UP" in flags,
        carrier="LOWER_UP" in flags,
        mtu=int(row.get("mtu") or 0),
        mac=str(row.get("address", "")),
        addresses=tuple(f"{one['local']}/{one['prefixlen']}" for one in row.get("addr_info", ()) if "local" in one),
        received_packets=int(inward.get("packets", 0)),
        received_bytes=int(inward.get("bytes", 0)),
        sent_packets=int(outward.get("packets", 0)),
        sent_bytes=int(outward.get("bytes", 0)),
        dropped=int(inward.get("dropped", 0)) + int(outward.get("dropped", 0)),
    )


def route(row: Told) -> Route:
    """A route as ``ip -json route show table all`` has it."""
    source = str(row.get("prefsrc", ""))
    text = str(row["dst"])
    if text == "default":
        text = "::/0" if ":" in str(row.get("gateway", source)) else "0.0.0.0/0"
    return Route(
        destination=str(ipaddress.ip_network(text, strict=False)),
        device=str(row.get("dev", "")),
        kind=kind if (kind := str(row.get("type", "unicast"))) in _KINDS else "unicast",
        gateway=str(row.get("gateway", "")),
        source=source,
        metric=int(row.get("metric", 0)),
    )


def listener(row: Told) -> Listener:
    """A listener as sock_diag has it, with its processes."""
    at = Endpoint.parse(f"{row['protocol']}:{bracketed(str(row['address']))}:{row['port']}")
    holders = tuple(Process(int(one["pid"]), str(one["command"])[:64]) for one in row.get("processes", ())[:64])
    return Listener(at, tuple(sorted(holders)), int(row["inode"]))


def container(row: Told) -> Container:
    """A container as the engine lists it."""
    seen = read_row(row)
    bound = tuple(
        (Endpoint.parse(f"{one['Type']}:{bracketed(str(one['IP']))}:{one['PublicPort']}"), int(one["PrivatePort"]))
        for one in row.get("Ports") or ()
        if one.get("PublicPort") and one["Type"] in ("tcp", "udp")
    )
    attached = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return Container(
        id=seen.id,
        name=seen.name,
        image=str(row.get("Image", "")),
        state=str(row["State"]),
        status=str(row.get("Status", "")),
        network_mode=str((row.get("HostConfig") or {}).get("NetworkMode", "")),
        attachments=tuple(attachment(name, one) for name, one in attached.items()),
        wanted=tuple(wanted(one) for one in seen.keeps),
        bound=bound,
    )


def wanted(one: Published) -> Publication:
    """What a container's labels keep."""
    return Publication(one.container, one.protocol, one.explicit, one.guest)


def attachment(name: str, told: Told) -> Attachment:
    """A container's place in a network."""
    return Attachment(
        network=name,
        network_id=str(told.get("NetworkID", "")),
        address=str(told.get("IPAddress", "")),
        address6=str(told.get("GlobalIPv6Address", "")),
        mac=str(told.get("MacAddress", "")),
        gateway=str(told.get("Gateway", "")),
    )


def network(row: Told) -> Network:
    """A network as the engine lists it."""
    configured = [one for one in (row.get("IPAM") or {}).get("Config") or () if one]
    options = row.get("Options") or {}
    bridge = options.get(_BRIDGE_NAME) or f"br-{row['Id'][:12]}"
    return Network(
        id=str(row["Id"]),
        name=str(row["Name"]),
        driver=str(row["Driver"]),
        bridge=str(bridge) if row["Driver"] == "bridge" else "",
        subnets=tuple(str(one["Subnet"]) for one in configured if "Subnet" in one),
        gateways=tuple(str(one["Gateway"]) for one in configured if "Gateway" in one),
        internal=bool(row.get("Internal")),
    )


def service(row: Told) -> Service:
    """A service of the guest."""
    return Service(str(row["name"]), str(row["state"]), int(row["pid"] or 0))


def inside(seen: Guest, told: Told) -> Guest:
    """The guest with what the answer to ``inside`` adds to its containers."""
    found = guarded(lambda one: {str(key): dict(value) for key, value in one.items()}, told["containers"], "containers")

    def deeper(one: Container) -> Container:
        more = found.get(one.id)
        return guarded(lambda told: _deeper(one, told), more, f"container {one.name}") if more else one

    return replace(seen, containers=tuple(map(deeper, seen.containers)), problems=seen.problems + problems(told))


def _deeper(seen: Container, told: Told) -> Container:
    state = (told.get("inspect") or {}).get("State") or {}
    bindings = ((told.get("inspect") or {}).get("HostConfig") or {}).get("PortBindings") or {}
    return replace(
        seen,
        exit_code=int(state.get("ExitCode", 0)),
        pid=int(state.get("Pid", 0)),
        wanted=seen.wanted or tuple(_unlabelled(bindings)),
        space=space(told["space"]) if told.get("space") else None,
    )


def _unlabelled(bindings: Mapping[str, Any]) -> Iterable[Publication]:
    """What was asked of the engine itself, past the host."""
    for key, several in bindings.items():
        number, protocol = split_key(key)
        for one in several or ():
            port = str(one.get("HostPort") or "")
            if port.isdigit() and protocol in ("tcp", "udp"):
                at = Endpoint.parse(f"{protocol}:{bracketed(str(one.get('HostIp') or ''))}:{port}")
                yield Publication(number, protocol, at, at)
