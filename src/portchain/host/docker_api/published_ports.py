"""The host's listeners for containers' publications: bound before a start, then kept as the engine reports them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from weakref import WeakValueDictionary

from ...net.listening import BindError
from ...ports.bind_policy import Policy, PolicyError
from ...ports.conflicts import Listeners
from ...ports.forward import Endpoint, Forward
from ...ports.planning import FORWARDED, target_of
from ...ports.syntax import PortRange
from ...protocol.container_states import STARTED
from .containers import EngineContainer
from .host_forwards import ForwardStore
from .publications import ContainerPublication, in_allocation_order
from .reconcile import Reconciler
from .records import Record, Records
from .views import Document, HostEndpoints

Inspect = Callable[[str], Awaitable[Document | None]]
ContainerCheck = Callable[[Document], Awaitable[None]]
Publishes = Callable[[Document], Awaitable[bool]]
Reserve = Callable[[Endpoint], Endpoint]

PORTS = 65_536
MAX_TRIES = 100_000  # of ports that are not free, at one start

log = logging.getLogger(__name__)


class PublishedPorts:
    """The host's listeners for the publications of all containers.

    ``inspect`` asks the engine for one container's inspection; it returns None for an unknown container and raises
    OSError. Unlike the engine's list, it waits until an operation in progress on the container is complete.
    ``publishes`` returns whether the engine publishes ports on the networks of an inspected container.
    """

    def __init__(
        self,
        table: ForwardStore,
        inspect: Inspect,
        policy: Policy,
        records: Records,
        publishes: Publishes | None = None,
    ) -> None:
        self.containers: dict[str, EngineContainer] = {}
        self.records = records
        self._table = table
        self._inspect = inspect
        self._publishes = publishes or _always_publishes
        self._policy = policy
        self._reconciler = Reconciler(self._reconcile)
        self._host_endpoints: dict[str, dict[Endpoint, Endpoint]] = {}
        self._applied: dict[str, EngineContainer] = {}
        self._creating: list[tuple[ContainerPublication, ...]] = []
        self._starts: Counter[str] = Counter()
        self.planning = asyncio.Lock()  # held from the choice of guest endpoints until `creating` keeps them
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def host_endpoints(self, container_id: str) -> HostEndpoints:
        """Return the host endpoint for each guest endpoint of a container."""
        return self._host_endpoints.get(container_id, {})

    def publications(self) -> list[ContainerPublication]:
        """Return the publications of all containers, running or not, and of those being created."""
        return [*self.records.publications(), *chain(*self._creating)]

    def changed(self, container_id: str) -> None:
        """Schedule a comparison of a container's listeners with the engine's state, and correct them."""
        self._reconciler.changed(container_id)

    async def close(self) -> None:
        """Stop reconciling."""
        await self._reconciler.close()

    @contextmanager
    def creating(self, record: Record) -> Iterator[Callable[[str], None]]:
        """Reserve the record's guest endpoints while a container is created.

        Yield a function that stores the record under the new container's id.
        """
        self._creating.append(record.published)
        try:
            yield lambda container_id: self.records.put(container_id, record)
        finally:
            self._creating.remove(record.published)

    @asynccontextmanager
    async def starting(
        self, name: str, check: ContainerCheck | None = None
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Bind a container's publications before its start; after the start, follow the engine's state.

        Yield a function that does the latter; it is called on exit if it was not called before. Nothing is bound for a
        container that the engine does not know or that is running. Raise BindError, PolicyError, or what ``check``
        raises for the inspected container; then nothing is bound either.
        """
        document = await self._inspect_if_available(name)
        if document is None:
            yield _do_nothing
            return
        if check:
            await check(document)
        record = self.records.get(str(document["Id"]))
        container = EngineContainer.read(document, record)
        if container.state not in STARTED:
            live = record.published if record.published and await self._publishes(document) else ()
            await self._bind(replace(container, live=live))
            self.records.put(container.id, self.records.get(container.id).not_refused)
        self._starts[container.id] += 1
        settling: asyncio.Task[None] | None = None

        async def settle() -> None:
            nonlocal settling
            settling = settling or asyncio.create_task(self._settle(container.id, starts_done=1))
            await asyncio.shield(settling)

        try:
            yield settle
        finally:
            await settle()

    async def reconcile(self, name: str) -> None:
        """Follow the engine's state of a container that was stopped, removed or otherwise changed."""
        container_id = self._find_id(name)
        if container_id:
            await self._settle(container_id)
            await self._table.released()

    async def _inspect_if_available(self, name: str) -> Document | None:
        try:
            return await self._inspect(name)
        except OSError as error:
            log.debug("%s", error)
            return None

    def _find_id(self, name: str) -> str | None:
        """Return the id of a container given by its id, name or a prefix of its id."""
        if name in self.containers:
            return name
        for container_id, container in self.containers.items():
            if container.name == name:
                return container_id
        return next((container_id for container_id in self.containers if container_id.startswith(name)), None)

    def _lock(self, container_id: str) -> asyncio.Lock:
        return self._locks.setdefault(container_id, asyncio.Lock())

    async def _settle(self, container_id: str, starts_done: int = 0) -> None:
        """Reconcile a container after ``starts_done`` of its starts; schedule another attempt if that is not enough."""
        try:
            settled = await self._reconcile(container_id, starts_done)
        except OSError as error:
            log.warning("%s", error)
            settled = False
        if not settled:
            self.changed(container_id)

    async def _reconcile(self, container_id: str, starts_done: int = 0) -> bool:
        """Compare and correct; return whether nothing is left to do until the next event. Raise OSError."""
        async with self._lock(container_id):
            self._starts -= Counter({container_id: starts_done})
            return self._apply(container_id, await self._inspect(container_id))

    def _apply(self, container_id: str, document: Document | None) -> bool:
        """Make the listeners follow an inspection, except while a start is in progress; return whether that is all."""
        if document is None:
            self._forget(container_id)
            return True
        record = self.records.get(container_id)
        container = self.containers[container_id] = EngineContainer.read(document, record)
        if not container.host_network:
            self._table.drop(host_network_origin(container_id))
        if self._starts[container_id]:
            return True
        if record.refused and container.state in STARTED:
            self.records.put(container_id, record.not_refused)
        if not container.live:
            self._release(container_id)
        elif self._applied.get(container_id) != container:
            self._bind_available(container)
        return container.state != "restarting"

    def _forget(self, container_id: str) -> None:
        self.containers.pop(container_id, None)
        self._release(container_id)
        self._table.drop(host_network_origin(container_id))
        self.records.forget(container_id)

    async def _bind(self, container: EngineContainer) -> None:
        """Bind all of a container's listeners or none; before giving up, reconcile the containers in the way."""
        try:
            self._bind_all(container)
        except BindError:
            rivals = self._rivals(container)
            if not rivals:
                raise
            await asyncio.gather(*map(self._settle, rivals))
            self._bind_all(container)

    def _rivals(self, container: EngineContainer) -> set[str]:
        """Return the ids of other containers that listen on a port this container may get."""
        wanted = {protocol: bytearray(PORTS) for protocol in FORWARDED}
        for protocol, ports in {(publication.protocol, publication.ports) for publication in container.live}:
            wanted[protocol][ports.first : ports.last + 1] = b"\1" * len(ports.numbers)
        rivals = set()
        for entry in self._table:
            other_id, listen = entry.origin.partition(":")[2], entry.forward.listen
            if other_id and listen.protocol in wanted and wanted[listen.protocol][listen.port]:
                rivals.add(other_id)
        return rivals - {container.id}

    def _bind_all(self, container: EngineContainer) -> None:
        with self._table.reserving() as reserve:
            forwards = self._plan_forwards(container, reserve)
            for forward in forwards.values():
                self._policy.check(forward.listen)
            self._table.replace(list(forwards.values()), _container_origin(container.id), lambda: None, container.name)
        self._remember(container, forwards)

    def _bind_available(self, container: EngineContainer) -> None:
        """Bind as many listeners of a running container as possible; the table tries the others again."""
        with self._table.reserving() as reserve:
            try:
                forwards = self._plan_forwards(container, reserve)
            except BindError as error:
                log.error("container %s: %s", container.name, error)
                return
            allowed = {
                guest: forward for guest, forward in forwards.items() if self._is_allowed(container, forward.listen)
            }
            self._table.keep(allowed.values(), _container_origin(container.id), container.name)
        self._remember(container, allowed)

    def _is_allowed(self, container: EngineContainer, listen: Endpoint) -> bool:
        try:
            self._policy.check(listen)
        except PolicyError as error:
            log.error("container %s: %s", container.name, error)
            return False
        return True

    def _release(self, container_id: str) -> None:
        self._applied.pop(container_id, None)
        self._host_endpoints.pop(container_id, None)
        self._table.drop(_container_origin(container_id))

    def _remember(self, container: EngineContainer, forwards: dict[Endpoint, Forward]) -> None:
        self._applied[container.id] = self.containers[container.id] = container
        self._host_endpoints[container.id] = {guest: forward.listen for guest, forward in forwards.items()}
        unspecified = {publication.guest for publication in container.live if not publication.explicit}
        chosen = {str(guest): f.listen.port for guest, f in forwards.items() if guest in unspecified}
        record = self.records.get(container.id)
        self.records.put(container.id, replace(record, chosen={**record.chosen, **chosen}))

    def _plan_forwards(self, container: EngineContainer, reserve: Reserve) -> dict[Endpoint, Forward]:
        """Return the forward to each guest endpoint of a container's live publications. Raise BindError."""
        choice = _PortChoice(self._policy, self.records.chosen_by_others(container.id), reserve)
        previous, current = self.records.get(container.id).chosen, self._host_endpoints.get(container.id, {})
        forwards: dict[Endpoint, Forward] = {}
        for publication in in_allocation_order(container.live):
            listen = publication.explicit or choice.choose(
                publication, current.get(publication.guest), previous.get(str(publication.guest))
            )
            choice.taken.add(listen)
            proxy_protocol = container.proxy.get(publication.canonical, "")
            forwards[publication.guest] = Forward(listen, target_of(publication.guest), proxy_protocol)
        return forwards


class _PortChoice:
    """Chooses and reserves host ports for publications of one container that leave it open; ``taken`` has the others.

    Ports of ``last_resort``, those last chosen for other containers, come last.
    """

    def __init__(self, policy: Policy, last_resort: Collection[int], reserve: Reserve) -> None:
        self.taken = Listeners()
        self._policy = policy
        self._last_resort = last_resort
        self._reserve = reserve
        self._tries = MAX_TRIES
        self._candidates: dict[tuple[str, str, PortRange], Iterator[int]] = {}

    def choose(self, publication: ContainerPublication, current: Endpoint | None, previous: int | None) -> Endpoint:
        """Return the current or previous port if it is free, else the first free one in the range.

        Raise BindError if none is free.
        """
        if current and current.port == previous:
            return current
        ports, address = publication.ports, publication.address
        if not ports.first:
            ports = self._policy.random_ports
            address = address if self._policy.random_address is None else self._policy.random_address
        # A port that was not free for one publication is not free for the next.
        candidates = self._candidates.setdefault(
            (publication.protocol, address, ports),
            chain(
                (number for number in ports.numbers if number not in self._last_resort),
                (number for number in ports.numbers if number in self._last_resort),
            ),
        )
        for number in chain([previous] if previous else [], candidates):
            endpoint = Endpoint(publication.protocol, address, number)
            if not self._policy.allows(endpoint):
                return endpoint  # whoever binds it checks the policy, and says why not
            if not self.taken.first_clashing(endpoint):
                with suppress(BindError):
                    return self._reserve(endpoint)
            self._tries = max(0, self._tries - 1)
            if not self._tries:
                break
        raise BindError(
            f"Ports are not available: exposing port {publication.protocol.upper()} "
            f"{publication.ip}:{publication.port} -> 0.0.0.0:0: "
            f"no port from {ports.first} to {ports.last} is free on the host"
        )


async def _do_nothing() -> None:
    pass


async def _always_publishes(_document: Document) -> bool:
    return True


def _container_origin(container_id: str) -> str:
    return f"container:{container_id}"


def host_network_origin(container_id: str) -> str:
    """Return the origin, in the table of forwards, of the listeners of a container in host network mode."""
    return f"host-network:{container_id}"
