from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from portchain.host.docker_api.publications import ContainerPublication, assign_guest_endpoints
from portchain.host.docker_api.published_ports import PublishedPorts
from portchain.host.docker_api.records import Record, Records
from portchain.host.forwarder.table import ForwardTable
from portchain.net.listening import BindError
from portchain.ports.bind_policy import Policy, PolicyError
from support.host_ports import free_port

LOW, HIGH = 19900, 19940  # of which no client is given one
BOUND: list[int] = []


def _note_bind(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.bind" and isinstance(arguments[1], tuple):
        BOUND.append(arguments[1][1])


@pytest.fixture(scope="module")
def audit() -> None:
    """Note what is bound; a hook cannot be removed."""
    sys.addaudithook(_note_bind)


@pytest.fixture
def bound_ports(audit: None) -> list[int]:
    """Return the ports that were bound since the test began, one entry for each time."""
    BOUND.clear()
    return BOUND


class Engine:
    """The part of an engine that `PublishedPorts` asks. Its list is late: only ``inspect`` tells how things are."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[ContainerPublication, ...]] = {}
        self.states: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.internal: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def inspect(self, name: str) -> dict[str, Any] | None:
        await self.answers.wait()
        container = next((one for one in self.states if name in (one, self.names[one])), None)
        if container is None:
            return None
        ports: dict[str, list[dict[str, str]]] = {}
        if self.states[container] == "running":
            for one in self.places[container]:
                binding = {"HostIp": one.guest.address, "HostPort": str(one.guest.port)}
                ports.setdefault(one.canonical, []).append(binding)
        state = {"Status": self.states[container]}
        name = f"/{self.names[container]}"
        return {"Id": container, "Name": name, "State": state, "NetworkSettings": {"Ports": ports}}

    async def publishes(self, document: dict[str, Any]) -> bool:
        return document["Id"] not in self.internal


class Machine:
    """An engine and the ports that go with it."""

    def __init__(self, folder: Path, *bind: str, engine: Engine | None = None) -> None:
        self.engine = engine or Engine()
        self.table = ForwardTable(os.getuid(), lambda _name: None)
        policy = Policy.parse(bind or ["*:1024-65535"], f"{LOW}-{HIGH}", None)
        records = Records(folder / "ports.json")
        self.ports = PublishedPorts(self.table, self.engine.inspect, policy, records, self.engine.publishes)

    def create(self, name: str, *asked: ContainerPublication) -> str:
        container = name.ljust(64, "0")
        self.engine.places[container] = tuple(assign_guest_endpoints(asked, self.ports.publications()))
        self.engine.states[container], self.engine.names[container] = "created", name
        self.ports.records.put(container, Record(self.engine.places[container]))
        return container

    async def look(self, container: str, listens: int) -> None:
        """Have a container looked at, until so many ports are listened on."""
        self.ports.changed(container)
        while len(self.listens()) != listens:
            await asyncio.sleep(0.001)

    async def start(self, container: str, fails: bool = False) -> None:
        async with self.ports.starting(container):
            if not fails:
                self.engine.states[container] = "running"

    def listens(self) -> list[str]:
        return sorted(entry.forward.listen.hostport for entry in self.table if entry.listener)


def asked(port: str = "", ip: str = "127.0.0.1", key: str = "80/tcp") -> ContainerPublication:
    found = ContainerPublication.read(key, {"HostIp": ip, "HostPort": port})
    assert found
    return found


Scenario = Callable[[Machine], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    def run(scenario: Scenario, *bind: str) -> None:
        async def within() -> None:
            machine = Machine(tmp_path, *bind)
            try:
                await asyncio.wait_for(scenario(machine), 10)
            finally:
                await machine.ports.close()
                machine.table.close()

        asyncio.run(within())

    return run


def test_bound_before_the_engine_starts_and_released_when_it_ended(run: Callable[..., None]) -> None:
    port = free_port()

    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked(str(port)))
        async with machine.ports.starting(web):
            assert machine.listens() == [f"127.0.0.1:{port}"]
            machine.engine.states[web] = "running"
        assert machine.listens() == [f"127.0.0.1:{port}"]
        machine.engine.states[web] = "exited"
        await machine.ports.reconcile("web")
        assert machine.listens() == []

    run(scenario)


def test_a_start_that_fails_leaves_nothing(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        await machine.start(machine.create("web", asked()), fails=True)
        assert machine.listens() == []

    run(scenario)


def test_a_port_in_use_keeps_all_from_being_bound_and_names_who_has_it(run: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        async def scenario(machine: Machine) -> None:
            web = machine.create("web", asked(), asked(str(port)))
            with pytest.raises(BindError, match=rf"bind: address already in use: .*\(pid {os.getpid()}\)"):
                await machine.start(web)
            assert machine.listens() == []

        run(scenario)


def test_where_the_engine_publishes_nothing_a_taken_port_is_no_hindrance(run: Callable[..., None]) -> None:
    port = free_port()

    async def scenario(machine: Machine) -> None:
        holder, inside = (machine.create(name, asked(str(port))) for name in ("holder", "inside"))
        machine.engine.internal.add(inside)
        await machine.start(holder)
        async with machine.ports.starting(inside):
            pass
        assert [entry.owner for entry in machine.table] == ["holder"]
        machine.engine.internal.clear()
        with pytest.raises(BindError):
            await machine.start(inside)

    run(scenario)


def test_a_port_of_another_container_is_told_by_its_name(run: Callable[..., None]) -> None:
    port = str(free_port())

    async def scenario(machine: Machine) -> None:
        await machine.start(machine.create("one", asked(port)))
        with pytest.raises(BindError, match="container one publishes"):
            await machine.start(machine.create("two", asked(port)))

    run(scenario)


def test_the_policy_keeps_a_container_from_starting(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        with pytest.raises(PolicyError, match=r"allows 127\.0\.0\.1:19000-30000"):
            await machine.start(machine.create("web", asked("8080", "")))
        await machine.start(machine.create("api", asked()))
        assert machine.listens() == [f"127.0.0.1:{LOW}"]

    run(scenario, "127.0.0.1:19000-30000")


def test_a_random_port_is_kept_over_restarts_and_given_to_no_other(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(machine: Machine) -> None:
        web, api = machine.create("web", asked()), machine.create("api", asked())
        await machine.start(web)
        machine.engine.states[web] = "exited"
        await machine.ports.reconcile(web)
        await machine.start(api)
        assert machine.listens() == [f"127.0.0.1:{LOW + 1}"]
        await machine.start(web)
        assert machine.listens() == [f"127.0.0.1:{LOW}", f"127.0.0.1:{LOW + 1}"]
        machine.table.close()
        again = Machine(tmp_path, engine=machine.engine)
        await again.look(web, 1)
        await again.look(api, 2)
        assert again.listens() == [f"127.0.0.1:{LOW}", f"127.0.0.1:{LOW + 1}"]
        await again.ports.close()
        again.table.close()

    run(scenario)


def test_a_random_port_is_bound_once(run: Callable[..., None], bound_ports: list[int]) -> None:
    async def scenario(machine: Machine) -> None:
        await machine.start(machine.create("web", asked()))

    run(scenario)
    assert bound_ports == [LOW]


def test_a_port_outside_the_policy_is_not_bound_even_for_a_moment(
    run: Callable[..., None], bound_ports: list[int]
) -> None:
    async def scenario(machine: Machine) -> None:
        with pytest.raises(PolicyError):
            await machine.start(machine.create("web", asked(f"{LOW}-{HIGH}")))

    run(scenario, "127.0.0.1:20000-20099")
    assert not bound_ports


def test_what_the_engine_did_alone_is_followed(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web, api = machine.create("web", asked()), machine.create("api", asked())
        machine.engine.states |= {web: "running", api: "restarting"}
        await machine.look(web, 1)
        await machine.look(api, 2)
        del machine.engine.states[web]
        await machine.look(web, 1)
        machine.engine.states[api] = "dead"
        await machine.look(api, 0)

    run(scenario)


def test_a_restart_that_ends_without_a_word_is_noticed(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked())
        machine.engine.states[web] = "restarting"
        await machine.look(web, 1)
        machine.engine.states[web] = "exited"
        while machine.listens():
            await asyncio.sleep(0.01)

    run(scenario)


def test_while_a_start_is_under_way_its_ports_stay(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked())
        async with machine.ports.starting(web):
            await machine.ports.reconcile(web)
            assert len(machine.listens()) == 1
        assert machine.listens() == []

    run(scenario)


def test_an_answer_from_before_a_start_takes_nothing_away(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked())
        async with machine.ports.starting(web) as settle:
            machine.engine.answers.clear()
            late = asyncio.create_task(machine.ports.reconcile(web))
            settling = asyncio.create_task(settle())
            await asyncio.sleep(0.01)
            machine.engine.states[web] = "running"
            machine.engine.answers.set()
            await asyncio.gather(late, settling)
            assert len(machine.listens()) == 1

    run(scenario)


def test_an_unknown_container_is_the_engines_to_refuse(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        async with machine.ports.starting("nobody") as settle:
            await settle()
        assert machine.listens() == []

    run(scenario)


def test_what_runs_already_is_not_bound_before(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        port = str(free_port())
        await machine.start(machine.create("one", asked(port)))
        two = machine.create("two", asked(port))
        machine.engine.states[two] = "running"
        async with machine.ports.starting(two):
            pass
        assert machine.listens() == [f"127.0.0.1:{port}"]

    run(scenario)


@pytest.mark.parametrize("port", [str(LOW), f"{LOW}-{LOW}"])
def test_a_container_in_the_way_is_looked_at_once_more(run: Callable[..., None], port: str) -> None:
    async def scenario(machine: Machine) -> None:
        one, two = machine.create("one", asked(port)), machine.create("two", asked(port))
        await machine.start(one)
        machine.engine.states[one] = "exited"
        await machine.start(two)
        assert [entry.owner for entry in machine.table] == ["two"]

    run(scenario)


def test_a_remembered_port_of_what_does_not_run_is_given_to_another_last(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        port = f"{LOW}-{LOW + 1}"
        one, two, three = (machine.create(name, asked(port)) for name in ("one", "two", "three"))
        for container in (one, two):
            await machine.start(container)
        for container in (one, two):
            machine.engine.states[container] = "exited"
            await machine.ports.reconcile(container)
        await machine.start(three)
        assert machine.listens() == [f"127.0.0.1:{LOW}"]
        await machine.start(two)
        assert machine.listens() == [f"127.0.0.1:{LOW}", f"127.0.0.1:{LOW + 1}"]
        with pytest.raises(BindError, match="no port from"):
            await machine.start(one)

    run(scenario)


def test_a_range_passes_over_what_overlaps_with_an_address_of_the_same_container(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked(str(LOW)), asked(f"{LOW}-{LOW + 1}", "", "81/tcp"))
        await machine.start(web)
        assert machine.listens() == [f"127.0.0.1:{LOW}", f":{LOW + 1}"]

    run(scenario)


def test_a_port_of_a_range_is_free_again_when_its_container_is_gone(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked(f"{LOW}-{LOW}"))
        await machine.start(web)
        del machine.engine.states[web]
        await machine.ports.reconcile("web")
        await machine.start(machine.create("api", asked(f"{LOW}-{LOW}")))
        assert machine.listens() == [f"127.0.0.1:{LOW}"]

    run(scenario)


def test_a_new_name_is_the_listeners_too(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.create("web", asked())
        await machine.start(web)
        machine.engine.names[web] = "new"
        await machine.ports.reconcile("web")
        assert [entry.owner for entry in machine.table] == ["new"]

    run(scenario)


def test_what_is_in_use_is_not_given_to_two_that_are_created_together(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        first = tuple(assign_guest_endpoints([asked()], machine.ports.publications()))
        with machine.ports.creating(Record(first)) as created:
            second = assign_guest_endpoints([asked()], machine.ports.publications())
            created("f" * 64)
        third = assign_guest_endpoints([asked()], machine.ports.publications())
        assert [one.guest.port for one in (*first, *second, *third)] == [55000, 55001, 55001]

    run(scenario)
