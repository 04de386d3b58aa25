from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from portchain.engine.chosen import Chosen
from portchain.engine.ports import Ports
from portchain.engine.publications import Published, labels, plan
from portchain.forwarder.listener import BindError
from portchain.forwarder.table import Table
from portchain.mapping.policy import Policy, PolicyError

LOW, HIGH = 20100, 20140  # of which no client is given one


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Engine:
    """As much of an engine's memory as `Ports` asks for."""

    def __init__(self) -> None:
        self.labels: dict[str, dict[str, str]] = {}
        self.published: dict[str, list[Published]] = {}
        self.states: dict[str, str] = {}

    def create(self, name: str, *asked: Published) -> str:
        container = name.ljust(64, "0")
        others = [one for several in self.published.values() for one in several]
        self.published[container] = plan(asked, others)
        self.labels[container] = labels(self.published[container])
        self.states[container] = "created"
        return container

    async def ask(self, url: str) -> Any:
        split = urlsplit(url)
        if split.path == "/containers/json":
            filters = json.loads(parse_qs(split.query).get("filters", ["{}"])[0])
            return [self._row(one) for one in self.states if one in filters.get("id", [one])]
        container = split.path.split("/")[2]
        if container not in self.states:
            raise OSError("guest: no such container")
        return {"Id": container, "Name": f"/{container.rstrip('0')}", "Config": {"Labels": self.labels[container]}}

    def _row(self, container: str) -> dict[str, Any]:
        state = self.states[container]
        ports = [
            {"Type": p.protocol, "IP": p.guest.address, "PublicPort": p.guest.port, "PrivatePort": p.container}
            for p in self.published[container]
            if state == "running"
        ]
        row = {"Id": container, "State": state, "Ports": ports, "Labels": self.labels[container]}
        return {**row, "Names": [f"/{container.rstrip('0')}"]}


class Machine:
    """An engine and the ports that go with it."""

    def __init__(self, folder: Path, *bind: str, engine: Engine | None = None) -> None:
        self.engine = engine or Engine()
        self.table = Table(os.getuid(), lambda _name: None)
        policy = Policy.parse(bind or ["*:1024-65535"], f"{LOW}-{HIGH}", None)
        self.ports = Ports(self.table, self.engine.ask, policy, Chosen(folder / "ports.json"))

    async def start(self, container: str, fails: bool = False) -> None:
        async with self.ports.starting(container):
            if not fails:
                self.engine.states[container] = "running"

    def listens(self) -> list[str]:
        return sorted(entry.forward.listen.place for entry in self.table if entry.listener)


def asked(port: str = "", ip: str = "127.0.0.1", key: str = "80/tcp") -> Published:
    found = Published.read(key, {"HostIp": ip, "HostPort": port})
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
                machine.table.close()

        asyncio.run(within())

    return run


def test_bound_before_the_engine_starts_and_released_when_it_ended(run: Callable[..., None]) -> None:
    port = free_port()

    async def scenario(machine: Machine) -> None:
        web = machine.engine.create("web", asked(str(port)))
        async with machine.ports.starting(web):
            assert machine.listens() == [f"127.0.0.1:{port}"]
            machine.engine.states[web] = "running"
        assert machine.listens() == [f"127.0.0.1:{port}"]
        machine.engine.states[web] = "exited"
        await machine.ports.ended("web")
        assert machine.listens() == []

    run(scenario)


def test_a_start_that_fails_leaves_nothing(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        await machine.start(machine.engine.create("web", asked()), fails=True)
        assert machine.listens() == []

    run(scenario)


def test_a_port_in_use_keeps_all_from_being_bound_and_names_who_has_it(run: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        async def scenario(machine: Machine) -> None:
            web = machine.engine.create("web", asked(), asked(str(port)))
            with pytest.raises(BindError, match=rf"bind: address already in use: .*\(pid {os.getpid()}\)"):
                await machine.start(web)
            assert machine.listens() == []

        run(scenario)


def test_a_port_of_another_container_is_told_by_its_name(run: Callable[..., None]) -> None:
    port = str(free_port())

    async def scenario(machine: Machine) -> None:
        await machine.start(machine.engine.create("one", asked(port)))
        with pytest.raises(BindError, match="container one publishes"):
            await machine.start(machine.engine.create("two", asked(port)))

    run(scenario)


def test_the_policy_keeps_a_container_from_starting(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        with pytest.raises(PolicyError, match=r"allows 127\.0\.0\.1:20000-30000"):
            await machine.start(machine.engine.create("web", asked("8080", "")))
        await machine.start(machine.engine.create("api", asked()))
        assert machine.listens() == [f"127.0.0.1:{LOW}"]

    run(scenario, "127.0.0.1:20000-30000")


def test_a_random_port_is_kept_over_restarts_and_given_to_no_other(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(machine: Machine) -> None:
        web, api = machine.engine.create("web", asked()), machine.engine.create("api", asked())
        await machine.start(web)
        machine.engine.states[web] = "exited"
        await machine.ports.observe(web)
        await machine.start(api)
        assert machine.listens() == [f"127.0.0.1:{LOW + 1}"]
        await machine.start(web)
        assert machine.listens() == [f"127.0.0.1:{LOW}", f"127.0.0.1:{LOW + 1}"]
        machine.table.close()
        again = Machine(tmp_path, engine=machine.engine)
        await again.ports.observe()
        assert again.listens() == [f"127.0.0.1:{LOW}", f"127.0.0.1:{LOW + 1}"]
        again.table.close()

    run(scenario)


def test_what_the_engine_did_alone_is_followed(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web, api = machine.engine.create("web", asked()), machine.engine.create("api", asked())
        machine.engine.states |= {web: "running", api: "restarting"}
        await machine.ports.observe()
        assert len(machine.listens()) == 2
        del machine.engine.states[web]
        machine.engine.states[api] = "dead"
        await machine.ports.observe()
        assert machine.listens() == []

    run(scenario)


def test_while_a_start_is_under_way_its_ports_stay(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.engine.create("web", asked())
        async with machine.ports.starting(web):
            await machine.ports.observe()
            await machine.ports.observe(web)
            assert len(machine.listens()) == 1
        assert machine.listens() == []

    run(scenario)


def test_an_unknown_container_is_the_engines_to_refuse(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        async with machine.ports.starting("nobody") as settle:
            await settle()
        assert machine.listens() == []

    run(scenario)


def test_a_port_of_a_range_is_free_again_when_its_container_is_gone(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        web = machine.engine.create("web", asked(f"{LOW}-{LOW}"))
        await machine.start(web)
        del machine.engine.states[web]
        await machine.ports.ended("web")
        await machine.start(machine.engine.create("api", asked(f"{LOW}-{LOW}")))
        assert machine.listens() == [f"127.0.0.1:{LOW}"]

    run(scenario)


def test_what_is_in_use_is_not_given_to_two_that_are_created_together(run: Callable[..., None]) -> None:
    async def scenario(machine: Machine) -> None:
        first = plan([asked()], machine.ports.kept())
        with machine.ports.creating(first) as created:
            second = plan([asked()], machine.ports.kept())
            created("f" * 64)
        third = plan([asked()], machine.ports.kept())
        assert [one.guest.port for one in (*first, *second, *third)] == [55000, 55001, 55001]

    run(scenario)
