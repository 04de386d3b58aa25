"""The host's listeners for what containers publish: bound before they start, and kept as the engine says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import chain
from typing import Any
from urllib.parse import quote

from ..forwarder.listener import BindError
from ..forwarder.table import Table
from ..mapping.forward import Endpoint, Forward
from ..mapping.plan import target_of
from ..mapping.policy import Policy, PolicyError
from ..preflight.sockets import why_not_bound
from .chosen import Chosen
from .picture import Container, from_inspect, read_row
from .publications import Published, in_turn
from .views import Document, HostEnds

Ask = Callable[[str], Awaitable[Any]]
Check = Callable[[Document], Awaitable[None]]

log = logging.getLogger(__name__)


class Ports:
    """``ask`` puts a GET to the guest's engine and gives the parsed answer; it raises OSError."""

    def __init__(self, table: Table, ask: Ask, policy: Policy, chosen: Chosen) -> None:
        self.containers: dict[str, Container] = {}
        self._table = table
        self._ask = ask
        self._policy = policy
        self._chosen = chosen
        self._ends: dict[str, dict[Endpoint, Endpoint]] = {}
        self._applied: dict[str, Container] = {}
        self._creating: list[tuple[Published, ...]] = []
        self._held: Counter[str] = Counter()
        self._lock = asyncio.Lock()

    def ends(self, container: str) -> HostEnds:
        """The host's end for each of a container's guest endpoints."""
        return self._ends.get(container, {})

    def kept(self) -> Iterator[Published]:
        """What all containers publish, running or not."""
        return chain(*(one.keeps for one in self.containers.values()), *self._creating)

    async def observe(self, *containers: str) -> None:
        """Compare the listeners with what the engine says of some containers, or of all, and correct them.

        Raise OSError when the engine does not answer; then nothing changes.
        """
        async with self._lock:
            await self._observe(containers)

    @contextmanager
    def creating(self, published: Iterable[Published]) -> Iterator[Callable[[str], None]]:
        """Keep the guest's places while a container is created; what is given is to be called with its id."""
        places = tuple(published)
        self._creating.append(places)

        def created(container: str) -> None:
            self.containers.setdefault(container, Container(container, container[:12], places, ()))

        try:
            yield created
        finally:
            self._creating.remove(places)

    @asynccontextmanager
    async def starting(self, name: str, check: Check | None = None) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Bind what a container publishes before it is started; afterwards go by what the engine says.

        What is given does the latter, at the end if not before. Of a container that the engine does not know nothing is
        bound. Raise BindError, PolicyError or what ``check`` raises for what the engine says of the container; then
        nothing is bound either.
        """
        container = await self._inspect(name, check)
        if container is None:
            yield _nothing
            return
        async with self._lock:
            self._bind(container)
            self._held[container.id] += 1
        settled: asyncio.Task[None] | None = None

        async def settle() -> None:
            nonlocal settled
            settled = settled or asyncio.create_task(self._settle(container.id))
            await asyncio.shield(settled)

        try:
            yield settle
        finally:
            await settle()

    async def _inspect(self, name: str, check: Check | None) -> Container | None:
        try:
            document = await self._ask(f"/containers/{quote(name, safe='')}/json")
        except OSError as error:
            log.debug("%s", error)
            return None
        if check:
            await check(document)
        return from_inspect(document)

    async def _settle(self, container: str) -> None:
        async with self._lock:
            self._held[container] -= 1
            await self._try_to_observe(container)

    async def ended(self, name: str) -> None:
        """Go by what the engine says of a container that was stopped or removed."""
        container = self._find(name)
        if container:
            async with self._lock:
                await self._try_to_observe(container)

    def _find(self, name: str) -> str | None:
        if name in self.containers:
            return name
        for container in self.containers.values():
            if container.name == name:
                return container.id
        return next((one for one in self.containers if one.startswith(name)), None)

    async def _try_to_observe(self, container: str) -> None:
        try:
            await self._observe((container,))
        except OSError as error:
            log.warning("%s", error)

    async def _observe(self, containers: tuple[str, ...]) -> None:
        filters = f"&filters={quote(json.dumps({'id': list(containers)}))}" if containers else ""
        rows: list[Document] = await self._ask(f"/containers/json?all=1{filters}")
        found = {one.id: one for one in map(read_row, rows)}
        asked_for = set(containers) or {*self.containers, *self._applied, *self._chosen}
        for gone in asked_for - found.keys():
            self.containers.pop(gone, None)
            self._release(gone)
            self._chosen.forget(gone)
        self.containers |= found
        for container in found.values():
            if not self._held[container.id]:
                self._keep(container)

    def _bind(self, container: Container) -> None:
        """All of a container's listeners, or none."""
        forwards = self._forwards(container)
        for forward in forwards.values():
            self._policy.check(forward.listen)
        self._table.replace(list(forwards.values()), _origin(container.id), lambda: None, container.name)
        self._remember(container, forwards)

    def _keep(self, container: Container) -> None:
        """As many of a container's listeners as can be had; it runs already."""
        if self._applied.get(container.id) == container:
            return
        if not container.live:
            self._release(container.id)
            return
        forwards = self._forwards(container)
        allowed = {guest: forward for guest, forward in forwards.items() if self._allows(container, forward.listen)}
        self._table.keep(allowed.values(), _origin(container.id), container.name)
        self._remember(container, allowed)

    def _allows(self, container: Container, listen: Endpoint) -> bool:
        try:
            self._policy.check(listen)
        except PolicyError as error:
            log.error("container %s: %s", container.name, error)
            return False
        return True

    def _release(self, container: str) -> None:
        self._applied.pop(container, None)
        self._ends.pop(container, None)
        self._table.keep([], _origin(container))

    def _remember(self, container: Container, forwards: dict[Endpoint, Forward]) -> None:
        self._applied[container.id] = container
        self._ends[container.id] = {guest: forward.listen for guest, forward in forwards.items()}
        free = {one.guest for one in container.live if not one.explicit}
        self._chosen.put(container.id, {guest: f.listen.port for guest, f in forwards.items() if guest in free})

    def _forwards(self, container: Container) -> dict[Endpoint, Forward]:
        """The forward to each guest endpoint of what is live."""
        proxy = dict(container.proxy)
        taken: set[Endpoint] = set()
        found: dict[Endpoint, Forward] = {}
        for one in in_turn(container.live):
            listen = one.explicit or self._choose(container.id, one, taken)
            taken.add(listen)
            found[one.guest] = Forward(listen, target_of(one.guest), proxy.get(one.key, ""))
        return found

    def _choose(self, container: str, one: Published, taken: Iterable[Endpoint]) -> Endpoint:
        """The port that it has or had, if that is free, or the first of those allowed that nobody has."""
        ports, address = one.ports, one.address
        if not ports.first:
            ports = self._policy.random_ports
            address = address if self._policy.random_address is None else self._policy.random_address
        before = self._chosen.get(container, one.guest)
        held = self._ends.get(container, {}).get(one.guest)
        if held and held.port == before:
            return held
        for number in chain([before] if before else [], ports.numbers):
            endpoint = Endpoint(one.protocol, address, number)
            owner = self._chosen.owner(one.protocol, number)
            if owner in (None, container) and endpoint not in taken and why_not_bound(endpoint) is None:
                return endpoint
        raise BindError(
            f"Ports are not available: exposing port {one.protocol.upper()} {one.ip}:{one.port} -> 0.0.0.0:0: "
            f"no port from {ports.first} to {ports.last} is free on the host"
        )


async def _nothing() -> None:
    pass


def _origin(container: str) -> str:
    return f"container:{container}"
