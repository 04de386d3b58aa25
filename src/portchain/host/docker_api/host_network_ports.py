"""Forwards for the listeners of containers in host network mode: the same endpoints on the host as in the guest."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from ...http import asyncio_client
from ...ports.bind_policy import Policy, PolicyError
from ...ports.forward import Endpoint, Forward
from ...ports.planning import target_of
from ...ports.syntax import bracketed
from .host_forwards import ForwardStore
from .published_ports import PublishedPorts, host_network_origin
from .seldom_log import SeldomLog

POLL_SECONDS = 0.5
DEADLINE = 5.0
MAX_LISTENERS = 4096  # of all containers in host network mode
URL = "/host-network/listeners"
# A UDP socket on a higher port most often belongs to a client that waits for one answer.
LAST_UDP_PORT = 32767

log = logging.getLogger(__name__)


def parse_forwards(rows: Iterable[Mapping[str, Any]], policy: Policy) -> dict[str, list[Forward]]:
    """Return each container's forwards from lifecycle-server's list of listeners.

    Left out are endpoints that are not for every host, those that the policy refuses, and rows after MAX_LISTENERS.
    Raise ValueError, KeyError or TypeError for rows that cannot be read.
    """
    forwards: defaultdict[str, list[Forward]] = defaultdict(list)
    for row in islice(rows, MAX_LISTENERS):
        listen = Endpoint.parse(f"{row['protocol']}:{bracketed(row['address'])}:{row['port']}")
        if listen.port and _on_any_host(listen) and not (listen.protocol == "udp" and listen.port > LAST_UDP_PORT):
            try:
                policy.check(listen)
            except PolicyError as error:
                log.debug("%s", error)
            else:
                forwards[str(row["container"])].append(Forward(listen, _target(listen)))
    return forwards


def _on_any_host(listen: Endpoint) -> bool:
    """Return whether every host can listen there: on a wildcard or loopback address."""
    if not listen.address:
        return True
    address = ipaddress.ip_address(listen.address)
    return address.is_loopback or address.is_unspecified


def _target(listen: Endpoint) -> Endpoint:
    return Endpoint(listen.protocol, "::1", listen.port) if listen.address == "::" else target_of(listen)


class HostNetworkForwards:
    """Keeps the forwards of containers in host network mode. ``socket`` is that of the guest's lifecycle-server."""

    def __init__(self, table: ForwardStore, ports: PublishedPorts, policy: Policy, socket: str) -> None:
        self._table = table
        self._ports = ports
        self._policy = policy
        self._socket = socket
        self._applied_names: dict[str, str] = {}
        self._not_understood = SeldomLog(log)

    async def follow(self) -> None:
        """Poll the guest's listeners for ever, while there are containers in host network mode."""
        while self._policy.host_network:
            await asyncio.sleep(POLL_SECONDS)
            if self._container_names() or self._applied_names:
                try:
                    await self._update()
                except OSError as error:
                    log.debug("%s", error)
                except Exception as error:
                    self._not_understood.warning("guest: the answer to %s was not understood: %.200r", URL, error)

    async def _update(self) -> None:
        rows = await asyncio_client.get_json(self._socket, URL, DEADLINE) if self._container_names() else []
        self._apply(parse_forwards(rows, self._policy), self._container_names())

    def _container_names(self) -> dict[str, str]:
        """Return the names of the containers in host network mode by id."""
        return {container.id: container.name for container in self._ports.containers.values() if container.host_network}

    def _apply(self, forwards: Mapping[str, list[Forward]], names: Mapping[str, str]) -> None:
        wanted = {container_id: names[container_id] for container_id in forwards if container_id in names}
        for container_id in self._applied_names.keys() - wanted.keys():
            self._table.drop(host_network_origin(container_id))
        for container_id, name in wanted.items():
            origin = host_network_origin(container_id)
            if self._table.of(origin) != forwards[container_id] or self._applied_names.get(container_id) != name:
                self._table.keep(forwards[container_id], origin, name)
        self._applied_names = wanted
