"""What a machine needs before a guest can be tried on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .plays import DEADLINE, play


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that run whole playbooks, one after the other, the time of a playbook."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(DEADLINE))


@pytest.fixture(scope="session")
def images() -> None:
    """The images that guests are made of, and the program that builds them."""
    play("playbooks/image.yml")
