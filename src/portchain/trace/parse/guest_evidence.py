"""Parse what a guest tells about itself. Pure; the guest is not trusted: what it says wrong raises EvidenceError."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

from ...host.docker_api.publications import split_key
from ...ports.forward import Endpoint
from ...ports.syntax import bracketed
from ..model import (
    Attachment,
    Container,
    Guest,
    Link,
    Listener,
    Network,
    NetworkNamespace,
    Process,
    Route,
    Service,
    WantedPublication,
)
from . import iptables, nft
from .tracked_flows import flows

_BRIDGE_NAME = "com.docker.network.bridge.name"
_MOST = 10_000
_MOST_PROBLEMS = 100
_END_OF_TIME = 1 << 33  # seconds since the epoch: in the year 2242
_KINDS = ("local", "unicast", "broadcast", "multicast", "unreachable", "blackhole", "prohibit", "throw", "anycast")

JsonObject = Mapping[str, Any]
T = TypeVar("T")


class EvidenceError(Exception):
    """Evidence that is missing or makes no sense; the message says of which side, and what to do."""


def parse_untrusted(read: Callable[[Any], T], value: Any, subject: str) -> T:
    """Call ``read`` with ``told``, and raise EvidenceError where that is not as it should be."""
    try:
        return read(value)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise EvidenceError(f"guest: what it tells of its {subject} is not understood: {error!r}"[:300]) from None


def parse_guest(answer: JsonObject) -> Guest:
    """Parse the guest's answer to ``look``."""
    containers = parse_untrusted(
        lambda rows: tuple(parse_container(row) for row in rows[:_MOST]), answer["containers"], "containers"
    )
    return Guest(
        time=parse_untrusted(parse_time, answer.get("time"), "time"),
        space=parse_untrusted(parse_namespace, answer["space"], "network"),
        containers=containers,
        networks=parse_untrusted(
            lambda rows: tuple(parse_network(row) for row in rows[:_MOST]), answer["networks"], "networks"
        ),
        services=parse_untrusted(
            lambda rows: tuple(parse_service(row) for row in rows[:_MOST]), answer["services"], "services"
        ),
        flows=parse_untrusted(lambda text: tuple(flows(str(text))), answer["conntrack"], "connections"),
        problems=parse_problems(answer),
    )


def parse_time(value: Any) -> float:
    """Parse seconds since the epoch; raise ValueError where no calendar has them."""
    if not 0 <= (seconds := float(value)) < _END_OF_TIME:
        raise ValueError(f"{seconds} is no time")
    return seconds


def parse_problems(answer: JsonObject) -> tuple[str, ...]:
    """Return what the guest says that it could not read, shortened."""
    return tuple(str(problem)[:300] for problem in answer.get("problems", ())[:_MOST_PROBLEMS])


def parse_namespace(answer: JsonObject) -> NetworkNamespace:
    """Parse a network namespace."""
    rules = iptables.parse(str(answer["iptables"]), "ip").joined(iptables.parse(str(answer["ip6tables"]), "ip6"))
    if answer.get("nft"):
        rules = rules.joined(nft.parse(str(answer["nft"]), rules.tables))
    return NetworkNamespace(
        inode=int(answer["inode"]),
        links=parse_links(_list(answer["links"]), answer.get("route_localnet")),
        routes=tuple(parse_route(row) for text in (answer["routes"], answer["routes6"]) for row in _list(text)),
        listeners=tuple(parse_listener(row) for row in answer.get("listeners", ())[:_MOST]),
        rules=rules,
        ip_forward=answer["sysctls"].get("ip_forward") != "0",
    )


def _list(text: str) -> list[JsonObject]:
    rows = json.loads(text, strict=False) if text.strip() else []
    return [row for row in rows[:_MOST] if row]


def parse_links(rows: list[JsonObject], localnet: Collection[str] | None = None) -> tuple[Link, ...]:
    """Parse all links, with their bridges; ``localnet`` are the names of those with route_localnet."""
    numbers = {str(row["ifname"]): int(row["ifindex"]) for row in rows}
    everywhere = localnet is None or "all" in localnet
    return tuple(
        replace(
            parse_link(row),
            master=numbers.get(str(row.get("master", "")), 0),
            route_localnet=everywhere or row["ifname"] in (localnet or ()),
        )
        for row in rows
    )


def parse_link(row: JsonObject) -> Link:
    """Parse a link as ``ip -json -details -statistics address`` prints it."""
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
        addresses=tuple(
            f"{address['local']}/{address['prefixlen']}" for address in row.get("addr_info", ()) if "local" in address
        ),
        received_packets=int(inward.get("packets", 0)),
        received_bytes=int(inward.get("bytes", 0)),
        sent_packets=int(outward.get("packets", 0)),
        sent_bytes=int(outward.get("bytes", 0)),
        dropped=int(inward.get("dropped", 0)) + int(outward.get("dropped", 0)),
    )


def parse_route(row: JsonObject) -> Route:
    """Parse a route as ``ip -json route show table all`` prints it."""
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


def parse_listener(row: JsonObject) -> Listener:
    """Parse a listening socket as sock_diag reports it, with its processes."""
    at = Endpoint.parse(f"{row['protocol']}:{bracketed(str(row['address']))}:{row['port']}")
    holders = tuple(
        Process(int(process["pid"]), str(process["command"])[:64]) for process in row.get("processes", ())[:64]
    )
    return Listener(at, tuple(sorted(holders)), int(row["inode"]), _proxied(row, at.protocol))


def _proxied(row: JsonObject, protocol: str) -> Endpoint | None:
    """Return where docker-proxy leads, by its arguments: ``-container-ip 172.17.0.2 -container-port 80``."""
    for process in row.get("processes", ()):
        arguments = [str(argument) for argument in process.get("arguments", ())]
        options = dict(pairwise(arguments))
        with suppress(ValueError, KeyError):
            return Endpoint.parse(f"{protocol}:{bracketed(options['-container-ip'])}:{options['-container-port']}")
    return None


def parse_container(row: JsonObject) -> Container:
    """Parse a container as the engine lists it."""
    bound = tuple(
        (
            Endpoint.parse(f"{settings['Type']}:{bracketed(str(settings['IP']))}:{settings['PublicPort']}"),
            int(settings["PrivatePort"]),
        )
        for settings in row.get("Ports") or ()
        if settings.get("PublicPort") and settings["Type"] in ("tcp", "udp")
    )
    attached = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return Container(
        id=str(row["Id"]),
        name=str((row.get("Names") or [f"/{row['Id'][:12]}"])[0]).lstrip("/"),
        image=str(row.get("Image", "")),
        state=str(row["State"]),
        status=str(row.get("Status", "")),
        network_mode=str((row.get("HostConfig") or {}).get("NetworkMode", "")),
        attachments=tuple(parse_attachment(name, settings) for name, settings in attached.items()),
        bound=bound,
    )


def parse_attachment(name: str, row: JsonObject) -> Attachment:
    """Parse a container's connection to a network."""
    return Attachment(
        network=name,
        network_id=str(row.get("NetworkID", "")),
        address=str(row.get("IPAddress", "")),
        address6=str(row.get("GlobalIPv6Address", "")),
        mac=str(row.get("MacAddress", "")),
        gateway=str(row.get("Gateway", "")),
    )


def parse_network(row: JsonObject) -> Network:
    """Parse a network as the engine lists it."""
    configs = [config for config in (row.get("IPAM") or {}).get("Config") or () if config]
    options = row.get("Options") or {}
    bridge = options.get(_BRIDGE_NAME) or f"br-{row['Id'][:12]}"
    return Network(
        id=str(row["Id"]),
        name=str(row["Name"]),
        driver=str(row["Driver"]),
        bridge=str(bridge) if row["Driver"] == "bridge" else "",
        subnets=tuple(str(config["Subnet"]) for config in configs if "Subnet" in config),
        gateways=tuple(str(config["Gateway"]) for config in configs if "Gateway" in config),
        internal=bool(row.get("Internal")),
    )


def parse_service(row: JsonObject) -> Service:
    """Parse a service of the guest."""
    return Service(str(row["name"]), str(row["state"]), int(row["pid"] or 0))


def with_container_details(guest: Guest, answer: JsonObject) -> Guest:
    """Add to the guest's containers what the answer to ``inside`` says."""
    details = parse_untrusted(
        lambda container: {str(key): dict(value) for key, value in container.items()},
        answer["containers"],
        "containers",
    )

    def detailed(container: Container) -> Container:
        row = details.get(container.id)
        return (
            parse_untrusted(lambda answer: _with_details(container, answer), row, f"container {container.name}")
            if row
            else container
        )

    return replace(
        guest, containers=tuple(map(detailed, guest.containers)), problems=guest.problems + parse_problems(answer)
    )


def _with_details(container: Container, row: JsonObject) -> Container:
    state = (row.get("inspect") or {}).get("State") or {}
    bindings = ((row.get("inspect") or {}).get("HostConfig") or {}).get("PortBindings") or {}
    return replace(
        container,
        exit_code=int(state.get("ExitCode", 0)),
        pid=int(state.get("Pid", 0)),
        wanted=container.wanted or tuple(_bindings(bindings)),
        space=parse_namespace(row["space"]) if row.get("space") else None,
    )


def _bindings(bindings: Mapping[str, Any]) -> Iterable[WantedPublication]:
    """Return the bindings that were asked of the engine directly, not through the host's docker.sock."""
    for key, ends in bindings.items():
        number, protocol = split_key(key)
        for end in ends or ():
            if protocol not in ("tcp", "udp"):
                continue
            port = str(end.get("HostPort") or "")
            endpoint = f"{protocol}:{bracketed(str(end.get('HostIp') or ''))}:{port}"
            at = Endpoint.parse(endpoint) if port.isdigit() and int(port) else None
            yield WantedPublication(number, protocol, at, at)
