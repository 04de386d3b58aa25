"""What containers in host network mode listen on, which appears on the host as it appears in the guest."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ..forwarder.table import Table
from ..mapping.forward import Endpoint, Forward
from ..mapping.plan import target_of
from ..mapping.policy import Policy, PolicyError
from ..mapping.words import bracketed
from . import client
from .ports import Ports

POLL_SECONDS = 0.5
DEADLINE = 5.0
URL = "/host-network/listeners"
# UDP sockets above are most often a client's, which waits for one answer.
LAST_UDP_PORT = 32767

log = logging.getLogger(__name__)


def forwards(rows: Iterable[Mapping[str, Any]], policy: Policy) -> dict[str, list[Forward]]:
    """Each container's forwards, from what lifecycle-server lists; raise ValueError, KeyError, TypeError."""
    found: defaultdict[str, list[Forward]] = defaultdict(list)
    for row in rows:
        listen = Endpoint.parse(f"{row['protocol']}:{bracketed(row['address'])}:{row['port']}")
        if _on_any_host(listen) and not (listen.protocol == "udp" and listen.port > LAST_UDP_PORT):
            try:
                policy.check(listen)
            except PolicyError as error:
                log.debug("%s", error)
            else:
                found[str(row["container"])].append(Forward(listen, _target(listen)))
    return found


def _on_any_host(listen: Endpoint) -> bool:
    if not listen.address:
        return True
    address = ipaddress.ip_address(listen.address)
    return address.is_loopback or address.is_unspecified


def _target(listen: Endpoint) -> Endpoint:
    return Endpoint(listen.protocol, "::1", listen.port) if listen.address == "::" else target_of(listen)


class HostNetwork:
    """``socket`` is that of the guest's lifecycle-server."""

    def __init__(self, table: Table, ports: Ports, policy: Policy, socket: str) -> None:
        self._table = table
        self._ports = ports
        self._policy = policy
        self._socket = socket
        self._shown: set[str] = set()

    async def follow(self) -> None:
        """Ask again and again, while there are such containers."""
        while self._policy.host_network:
            await asyncio.sleep(POLL_SECONDS)
            names = {one.id: one.name for one in self._ports.containers.values() if one.host_network}
            if names or self._shown:
                try:
                    rows = await client.get_json(self._socket, URL, DEADLINE) if names else []
                    self._show(forwards(rows, self._policy), names)
                except OSError as error:
                    log.debug("%s", error)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    log.warning("guest: %s: not understood: %r", URL, error)

    def _show(self, found: Mapping[str, list[Forward]], names: Mapping[str, str]) -> None:
        wanted = {container: found[container] for container in found if container in names}
        for container in self._shown - wanted.keys():
            self._table.keep([], f"host-network:{container}")
        for container, several in wanted.items():
            origin = f"host-network:{container}"
            if self._table.of(origin) != several:
                self._table.keep(several, origin, names[container])
        self._shown = set(wanted)
