"""Ports that running containers ask for and the engine does not publish, as on an internal network. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.container_states import WITH_PROCESSES
from .model import Container, Guest, Network

_OWN_ADDRESSES = ("macvlan", "ipvlan")


@dataclass(frozen=True)
class Unpublished:
    """Ports as docker ps writes them, such as ``*:8080->80/tcp``, that the engine does not publish, and why."""

    container: str
    ports: tuple[str, ...]
    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return a sentence for people."""
        return f"container {self.container}: the engine does not publish {', '.join(self.ports)}: {self.reason}"


def unpublished(guest: Guest | None) -> tuple[Unpublished, ...]:
    """Return what a guest's containers ask for in vain; disconnected containers are broken, so not included."""
    results = (
        (unpublished_ports(guest, container) for container in guest.containers if not is_disconnected(container))
        if guest
        else ()
    )
    return tuple(container for container in results if container)


def is_disconnected(container: Container) -> bool:
    """Tell whether a container is in no network, the host's and another container's included."""
    mode = container.network_mode
    return not container.attachments and mode != "host" and not mode.startswith("container:")


def unpublished_ports(guest: Guest, container: Container) -> Unpublished | None:
    """Return what a running container asks for and cannot have in its networks."""
    published_ports = {(endpoint.protocol, container_port) for endpoint, container_port in container.bound}
    ports = [
        str(publication)
        for publication in container.wanted
        if (publication.protocol, publication.container_port) not in published_ports
    ]
    reason = no_publishing_reason(guest, container) if ports and container.state in WITH_PROCESSES else None
    return Unpublished(container.name, tuple(sorted(ports)), *reason) if reason else None


def may_have_unpublished(guest: Guest, container: Container) -> bool:
    """Tell whether there may be such ports, which only the container's inspection shows."""
    return (
        container.state in WITH_PROCESSES and not container.bound and no_publishing_reason(guest, container) is not None
    )


def no_publishing_reason(guest: Guest, container: Container) -> tuple[str, str] | None:
    """Return why the engine publishes nothing of a container, and the remedy; None where it should."""
    if container.network_mode == "host":
        text = "with --network host there is no -p: what the container listens on is on the host at the same port"
        return text, "use the port that it listens on, or run it without --network host"
    connect = f"docker network connect bridge {container.name}"
    if is_disconnected(container):
        return "it is in no network", connect
    networks = [
        guest.network(attachment.network_id) or guest.network(attachment.network)
        for attachment in container.attachments
    ]
    reasons = [_reason_by_network(network) if network else "" for network in networks]
    if not reasons or not all(reasons):
        return None
    internal = all(network and network.internal for network in networks)
    return ", ".join(reasons), connect if internal else "run it in a network that publishes ports, such as bridge"


def _reason_by_network(network: Network) -> str:
    """Return why the engine publishes nothing in a network; empty where it does."""
    if network.driver == "null":
        return f"network {network.name} leads nowhere"
    if network.internal:
        return f"network {network.name} is internal"
    if network.driver in _OWN_ADDRESSES:
        return f"network {network.name} ({network.driver}) gives it an address of its own"
    return ""
