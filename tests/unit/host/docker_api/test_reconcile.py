"""Looking at what changed until it is settled."""

from __future__ import annotations

import asyncio

from portchain.host.docker_api.reconcile import Reconciler
from support.http_parties import in_loop


class Looks:
    """Counts the looks at each name; one goes on until it may end."""

    def __init__(self, *outcomes: bool | Exception) -> None:
        self.outcomes = list(outcomes)
        self.begun = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, _name: str) -> bool:
        self.begun += 1
        outcome = self.outcomes.pop(0) if self.outcomes else True
        await self.may_end.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def count(looks: Looks, reconciler: Reconciler) -> int:
    """How many looks it takes until nothing more is done."""
    while reconciler.busy:
        await asyncio.sleep(0.001)
    await reconciler.close()
    return looks.begun


@in_loop
async def test_what_changed_is_looked_at_once():
    looks = Looks()
    reconciler = Reconciler(looks)
    reconciler.changed("web")
    assert await count(looks, reconciler) == 1


@in_loop
async def test_changes_during_a_look_take_one_more_after_it():
    looks = Looks()
    looks.may_end.clear()
    reconciler = Reconciler(looks)
    for _ in range(5):
        reconciler.changed("web")
        await asyncio.sleep(0)
    assert looks.begun == 1
    looks.may_end.set()
    assert await count(looks, reconciler) == 2


@in_loop
async def test_it_goes_on_until_that_is_settled():
    looks = Looks(False, OSError("no answer"), False, True)
    reconciler = Reconciler(looks, 0.001)
    reconciler.changed("web")
    assert await count(looks, reconciler) == 4


@in_loop
async def test_a_change_is_not_waited_with_until_the_next_look_is_due():
    looks = Looks(False)
    reconciler = Reconciler(looks, 1000)
    reconciler.changed("web")
    await asyncio.sleep(0.01)
    reconciler.changed("web")
    assert await count(looks, reconciler) == 2


@in_loop
async def test_what_is_not_understood_is_let_be(caplog):
    looks = Looks(ValueError("garbage"))
    reconciler = Reconciler(looks)
    reconciler.changed("web")
    assert await count(looks, reconciler) == 1
    assert "garbage" in caplog.text
