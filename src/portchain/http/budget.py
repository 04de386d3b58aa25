"""A budget of memory that many peers share, so that no number of them takes more. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .body import ProtocolError


class ByteBudget:
    """Memory for what peers send, in bytes: ``each`` for every peer, and ``shared`` more for all of them together."""

    def __init__(self, each: int, shared: int) -> None:
        self.each = each
        self.free = shared

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """Yield one peer's part of the budget, which is released when the block ends."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            hold.release()


class Hold:
    """One peer's part of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._uses: dict[str, int] = {}
        self._shared = 0

    def take(self, use: str, count: int) -> None:
        """Reserve ``count`` bytes for a use, such as ``a head``, instead of what was reserved for it before.

        Raise ProtocolError (503) if the budget has not that many; then nothing is changed.
        """
        total = sum(self._uses.values()) - self._uses.get(use, 0) + count
        more = max(0, total - self._budget.each) - self._shared
        if more > self._budget.free:
            raise ProtocolError(503, f"host: no memory left for {use} beside those of others: try again later")
        self._budget.free -= more
        self._shared += more
        self._uses[use] = count

    def release(self) -> None:
        """Release everything."""
        self._budget.free += self._shared
        self._shared = 0
        self._uses.clear()
