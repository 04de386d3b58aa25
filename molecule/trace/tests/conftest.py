"""What the tests of traces share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from probing import Guest, answered
from testinfra.host import Host

from support.host_ports import free_port
from support.waiting import eventually

TIMEOUT = 30
Trace = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def guest(guest_name: str) -> Guest:
    """The guest's ends on the host."""
    return Guest(guest_name)


def seen(found: dict[str, Any]) -> bool:
    """Whether every hop of a trace is as it should be."""
    return all(hop["state"] == "ok" for chain in found["chains"] for hop in chain["hops"])


@pytest.fixture(scope="session")
def trace(guest_name: str) -> Trace:
    """What ``portchain trace`` says in JSON; its exit status is held against its verdict, where it has seen all."""

    def run(asked: int | str, *options: str) -> dict[str, Any]:
        command = ["portchain", "trace", str(asked), "--guest", guest_name, "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert done.returncode in (0, 1), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        if found["verdict"] or seen(found):
            assert done.returncode == (1 if found["verdict"] else 0)
        return found

    return run


@pytest.fixture
def verdict(trace: Trace) -> Callable[[int | str], str]:
    """The code of the verdict on a port; where there is none, ``whole``, or ``unknown`` with a hop that is not seen."""

    def code(asked: int | str) -> str:
        found = trace(asked)
        if found["verdict"]:
            return str(found["verdict"]["code"])
        return "whole" if seen(found) else "unknown"

    return code


@pytest.fixture
def mended(verdict: Callable[[int | str], str]) -> Callable[[int | str], None]:
    """Waits until a chain is whole again."""
    return lambda asked: eventually(lambda: verdict(asked) == "whole", f"a whole chain from {asked}", 20)


@pytest.fixture
def served(probe: Callable[..., Any]) -> Callable[..., tuple[Any, int]]:
    """Runs a probe on a port of the host until it answers: the container and the port."""

    def run(*command: str, **words: Any) -> tuple[Any, int]:
        port = free_port()
        container = probe(*command, **{"ports": {"7000/tcp": port}, **words})
        answered(port)
        return container, port

    return run


@pytest.fixture
def changed(host: Host) -> Callable[[str, str], Any]:
    """A change in the guest by a command, taken back by another."""

    @contextmanager
    def change(command: str, back: str) -> Iterator[None]:
        host.check_output(command)
        try:
            yield
        finally:
            host.check_output(back)

    return change
