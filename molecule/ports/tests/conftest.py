"""What the tests of ports share."""

from __future__ import annotations

import pytest
from probing import Guest


@pytest.fixture(scope="session")
def guest(guest_name: str) -> Guest:
    """The guest's ends on the host."""
    return Guest(guest_name)
