"""docker.sock on the host: the guest's engine, with the host's ports in it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..forwarder.table import Table
from ..guest.shares import Shares
from ..mapping.forward import Endpoint
from ..mapping.policy import Policy
from . import binds, client
from .chosen import Chosen
from .host_network import HostNetwork
from .ports import Ports
from .proxy import Proxy, dial_unix
from .rules import Rules
from .views import Document

DEADLINE = 30.0
RETRY_SECONDS = 0.2
# The engine tells of a network before it lists the ports that come with it.
SETTLE_SECONDS = 0.3
MANY = 20  # containers that changed at once, from which on all are looked at in one go
_FILTERS = {"type": ["container", "network"]}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """``run_dir`` holds the guest's sockets, ``chosen`` keeps the host's ports, ``shares`` the folders that it has."""

    guest: str
    run_dir: Path
    chosen: Path
    shares: Path
    policy: Policy

    @property
    def socket(self) -> str:
        """The engine's own socket."""
        return str(self.run_dir / "engine.sock")

    @property
    def lifecycle_socket(self) -> str:
        """That of lifecycle-server, which runs the engine."""
        return str(self.run_dir / "lifecycle-server.sock")


class EngineService:
    """Serves the listeners that are given and keeps the table as the engine says."""

    def __init__(self, options: EngineOptions, table: Table, listeners: Iterable[socket.socket]) -> None:
        self._options = options
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self.ports = Ports(table, self._ask, options.policy, Chosen(options.chosen))
        rules = Rules(self.ports, self._ask, self._taken, self._check_binds)
        self._proxy = Proxy(lambda: dial_unix(options.socket), rules.route)
        for listener in listeners:
            self._proxy.serve(listener)
        host_network = HostNetwork(table, self.ports, options.policy, options.lifecycle_socket)
        tasks = (self._watch(), self._follow(), host_network.follow())
        self._tasks = [asyncio.create_task(task) for task in tasks]

    async def close(self) -> None:
        """Stop; connections of clients end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._proxy.close()

    async def _ask(self, url: str) -> Any:
        return await client.get_json(self._options.socket, url, DEADLINE)

    async def _taken(self) -> list[Endpoint]:
        """What is listened on in the guest, but for what containers publish."""
        try:
            rows = await client.get_json(self._options.lifecycle_socket, "/listeners", DEADLINE)
            found = {Endpoint(str(row["protocol"]), str(row["address"]), int(row["port"])) for row in rows}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("guest %s: its listeners are not known: %s", self._options.guest, error)
            return []
        return list(found - {one.guest for one in self.ports.kept()})

    async def _check_binds(self, create: Document) -> None:
        """Raise NotSharedError; OSError or ValueError where it cannot be told."""
        try:
            shares = Shares.load(self._options.shares.read_text())
        except FileNotFoundError:
            shares = Shares()
        await binds.check(create, shares, os.path.realpath, self._known)

    async def _known(self, path: str) -> bool:
        """Whether the docker service has ``path``."""
        found = await client.get_json(self._options.lifecycle_socket, f"/paths?path={quote(path)}", DEADLINE)
        return bool(found["exists"])

    async def _watch(self) -> None:
        """Listen to the engine's events, from one of its lives to the next."""
        while True:
            try:
                async with client.events(self._options.socket, _FILTERS) as events:
                    await self.ports.observe()
                    log.info("guest %s: the engine answers", self._options.guest)
                    async for event in events:
                        self._note(event)
            except OSError as error:
                log.debug("guest %s: no events from the engine: %s", self._options.guest, error)
            except Exception:
                log.exception("guest %s: what the engine says was not understood", self._options.guest)
            await asyncio.sleep(RETRY_SECONDS)

    def _note(self, event: dict[str, Any]) -> None:
        actor = event.get("Actor") or {}
        of_container = event.get("Type") == "container"
        container = actor.get("ID") if of_container else (actor.get("Attributes") or {}).get("container")
        if container and not str(event.get("Action")).startswith(("exec_", "top", "attach", "resize")):
            self._look_at(str(container))
            if not of_container:
                asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._look_at, str(container))

    def _look_at(self, container: str) -> None:
        self._changed.add(container)
        self._wake.set()

    async def _follow(self) -> None:
        """Look at the containers that changed."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            try:
                await self.ports.observe(*(changed if len(changed) < MANY else ()))
            except OSError as error:
                log.warning("guest %s: %s", self._options.guest, error)
            except Exception:
                log.exception("guest %s: what the engine says was not understood", self._options.guest)
