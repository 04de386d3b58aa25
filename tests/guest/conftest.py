"""What a machine needs before a guest can be tried on it."""

from __future__ import annotations

import pytest

from .plays import play


@pytest.fixture(scope="session")
def images() -> None:
    """The images that guests are made of, and the program that builds them."""
    play("playbooks/image.yml")
