"""What holds for all unit tests.

Hypothesis is bounded: few examples but for make fuzz, and no deadline for a machine that is busy. None of what is
collected is garbage, so garbage is looked for only once the tests run, and among what they make. Some kernels refuse
socket filters to who is not root: there listeners are made without.
"""

import contextlib
import gc
import socket
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import settings

from portchain.net import socket_filter

settings.register_profile("unit", max_examples=60, deadline=None)
settings.register_profile("fuzz", max_examples=10_000, deadline=None)
settings.load_profile("unit")
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _listeners_of_users() -> Iterator[None]:
    attach = socket_filter.attach

    def attach_if_allowed(sock: socket.socket, program: bytes, *, locked: bool = False) -> None:
        with contextlib.suppress(PermissionError):
            attach(sock, program, locked=locked)

    with mock.patch.object(socket_filter, "attach", attach_if_allowed):
        yield
