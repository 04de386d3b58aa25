"""The guest that attacks, and those who must not notice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import testinfra
from probing import Guest, answers
from testinfra.host import Host

WITHIN, AT_MOST = 0.1, 1.0  # seconds for an answer
BUSY = 0.05  # of the answers may be later, for the machine may have other things to do
PORTS = {"the same guest": 17000, "another guest": 17001}


@pytest.fixture(scope="session")
def attacker() -> Guest:
    """The ends on the host of the guest that was taken over."""
    return Guest("hostile")


@pytest.fixture(scope="session")
def guest_root() -> Host:
    """Runs commands as root of that guest."""
    return testinfra.get_host("ssh://hostile", ssh_config="/run/portchain/hostile/ssh_config")


@contextlib.contextmanager
def _nobody_waits(*whose: str) -> Iterator[None]:
    took: list[float] = []
    refused: list[str] = []
    ended = threading.Event()

    def ask(whose: str, port: int) -> None:
        while not ended.is_set():
            began = time.monotonic()
            if not answers(port):
                refused.append(whose)
            took.append(time.monotonic() - began)
            ended.wait(0.02)

    asking = [threading.Thread(target=ask, args=(name, PORTS[name])) for name in whose or PORTS]
    for thread in asking:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in asking:
            thread.join()
    late = [seconds for seconds in took if seconds > WITHIN]
    assert not refused, f"no answer from {refused[0]}, {len(refused)} times"
    assert len(late) <= 1 + BUSY * len(took), f"{len(late)} of {len(took)} answers took longer than {WITHIN} s"
    assert max(took) < AT_MOST, f"an answer took {max(took):.2f} s"


@pytest.fixture
def nobody_waits() -> Callable[..., AbstractContextManager[None]]:
    """Makes sure that all PORTS, or those of ``whose`` names, answer at once as long as a block runs."""
    return _nobody_waits
