"""docker.sock on the host: the API of the guest's engine, with the host's ports in its answers."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...http import asyncio_client
from ...ports.bind_policy import Policy
from ...ports.forward import Endpoint
from ...protocol.container_states import STARTED
from . import engine_client
from .bind_sides import BindChecker
from .earlier_records import read_earlier_record
from .engine_client import MAX_ID, EngineClient, is_container
from .host_forwards import ForwardStore
from .host_network_ports import HostNetworkForwards
from .proxy import Proxy, dial_unix
from .published_ports import PublishedPorts
from .records import Record, Records
from .request_rules import RequestRules
from .seldom_log import SeldomLog

DEADLINE = 30.0
RETRY_SECONDS = 0.2
SHORT_SECONDS = 1.0  # an engine that ends its events so soon is asked again after an ever longer pause
LONGEST_RETRY = 5.0
MAX_LISTENERS = 16_384  # in the guest that are kept clear of
# The engine sends each of these while it holds the container's lock, so that a later inspection sees the outcome.
_EVENTS = {
    "type": ["container", "network"],
    "event": ["start", "die", "destroy", "rename", "connect", "disconnect"],
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """What docker.sock needs to know of a guest.

    ``run_dir`` holds the guest's sockets, ``state_dir`` its settings, ``records`` the publications of its containers.
    """

    guest: str
    run_dir: Path
    state_dir: Path
    records: Path
    policy: Policy

    @property
    def socket(self) -> str:
        """The engine's own socket."""
        return str(self.run_dir / "engine.sock")

    @property
    def lifecycle_socket(self) -> str:
        """The socket of lifecycle-server, which runs the engine."""
        return str(self.run_dir / "lifecycle-server.sock")


class EngineService:
    """Serves the engine's API and makes the table of forwards follow the engine's containers.

    Clients on the host come to ``on_host``, those in the guest to ``in_guest``; the latter are told less of the host.
    """

    def __init__(
        self, options: EngineOptions, table: ForwardStore, on_host: socket.socket, in_guest: socket.socket
    ) -> None:
        self._options = options
        self._engine = EngineClient(options.socket)
        self._not_understood = SeldomLog(log)
        records = Records(options.records)
        self.ports = PublishedPorts(table, self._engine.inspect, options.policy, records, self._engine.publishes)
        binds = BindChecker(options.run_dir, options.state_dir, options.lifecycle_socket)
        self._proxy = Proxy(lambda: dial_unix(options.socket))
        for listener in (on_host, in_guest):
            told_less = listener is in_guest
            rules = RequestRules(self.ports, self._engine, self._foreign_listeners, binds.check_binds, told_less)
            self._proxy.serve(listener, rules.route)
        host_network = HostNetworkForwards(table, self.ports, options.policy, options.lifecycle_socket)
        self._tasks = [asyncio.create_task(coroutine) for coroutine in (self._follow_events(), host_network.follow())]

    async def close(self) -> None:
        """Stop serving and close the connections of all clients."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ports.close()
        await self._proxy.close()

    async def _foreign_listeners(self) -> list[Endpoint]:
        """Return the endpoints listened on in the guest, except those of publications; none if they are unknown."""
        try:
            rows = await asyncio_client.get_json(self._options.lifecycle_socket, "/listeners", DEADLINE)
            listeners = {
                Endpoint(str(row["protocol"]), str(row["address"]), int(row["port"])) for row in rows[:MAX_LISTENERS]
            }
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            self._not_understood.warning(
                "guest %s: cannot list its listeners, their ports count as free: %s", self._options.guest, error
            )
            return []
        return list(listeners - {publication.guest for publication in self.ports.publications()})

    async def _follow_events(self) -> None:
        """Follow the engine's events for ever, and subscribe again after each restart of the engine."""
        pause, subscribed = RETRY_SECONDS, 0.0
        while True:
            try:
                async with engine_client.events(self._options.socket, _EVENTS) as events:
                    subscribed = time.monotonic()
                    await self._reconcile_all()
                    log.info("guest %s: the engine answers", self._options.guest)
                    async for event in events:
                        if container_id := _container_of(event):
                            self.ports.changed(container_id)
            except OSError as error:
                log.debug("guest %s: no events from the engine: %s", self._options.guest, error)
            except Exception as error:
                text = "guest %s: an answer of the engine was not understood: %.200r"
                self._not_understood.warning(text, self._options.guest, error)
            at_once = subscribed and time.monotonic() - subscribed < SHORT_SECONDS
            pause, subscribed = min(2 * pause, LONGEST_RETRY) if at_once else RETRY_SECONDS, 0.0
            await asyncio.sleep(pause)

    async def _reconcile_all(self) -> None:
        """Schedule a reconciliation of each container that is running, was running when last inspected, or is gone."""
        rows = await self._engine.get("/containers/json?all=1")
        if not isinstance(rows, list) or not all(map(is_container, rows)):
            raise ValueError("a list of containers without their ids")
        states = {str(row["Id"]): row.get("State") for row in rows}
        records = self.ports.records
        if records.earlier is not None:
            migrated = {
                container_id: await self._read_earlier_record(container_id, records.earlier) for container_id in states
            }
            records.add_earlier({container_id: record for container_id, record in migrated.items() if record})
        running = {container_id for container_id, state in states.items() if state in STARTED}
        for container_id in running | self.ports.containers.keys() | (set(records) - states.keys()):
            self.ports.changed(container_id)

    async def _read_earlier_record(self, container_id: str, chosen: dict[str, Any]) -> Record | None:
        document = await self._engine.inspect(container_id)
        return read_earlier_record(document, chosen.get(container_id) or {}) if document else None


def _container_of(event: object) -> str | None:
    """Return the id of the container that an event is about."""
    actor = event.get("Actor") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(actor, dict):
        return None
    attributes = actor.get("Attributes")
    named = attributes.get("container") if isinstance(attributes, dict) else None
    container_id = actor.get("ID") if event.get("Type") == "container" else named
    return container_id if isinstance(container_id, str) and len(container_id) <= MAX_ID else None
