"""The part of the forwarder that the Docker API uses, as protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from ...ports.forward import Endpoint, Forward


class ForwardWithOrigin(Protocol):
    """A forward and its ``origin``: who asked for it."""

    @property
    def forward(self) -> Forward:
        """The listening endpoint and its target."""

    @property
    def origin(self) -> str:
        """Who asked for the forward: ``container:ID`` or ``host-network:ID`` for those of the Docker API."""


class ForwardStore(Protocol):
    """The forwards of one guest by origin; ``owner`` is the origin's name for people."""

    def __iter__(self) -> Iterator[ForwardWithOrigin]:
        """Iterate over the forwards of all origins."""

    def of(self, origin: str) -> list[Forward]:
        """Return the forwards of one origin."""

    def reserving(self) -> AbstractContextManager[Callable[[Endpoint], Endpoint]]:
        """Yield a function that binds an endpoint for a forward that is added before the block ends.

        It returns the endpoint and raises BindError.
        """

    def replace(self, wanted: list[Forward], origin: str, save: Callable[[], None], owner: str = "") -> None:
        """Make ``wanted`` the only forwards of ``origin``, all or nothing; raise BindError."""

    def keep(self, wanted: Iterable[Forward], origin: str, owner: str = "") -> None:
        """Make ``wanted`` the only forwards of ``origin``; one that cannot be bound is tried again later."""

    def drop(self, origin: str) -> None:
        """Remove the forwards of ``origin``."""

    async def released(self) -> None:
        """Wait a moment until the endpoints of removed forwards are free to anybody."""
