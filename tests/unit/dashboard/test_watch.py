from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from portchain.dashboard.page_changes import Picture
from portchain.dashboard.watch import MAX_WATCHERS, FullError, Watch

QUICK = 0.005


class Machine:
    """A machine that was looked at so many times."""

    def __init__(self) -> None:
        self.looks = 0
        self.seen: Callable[[int], Picture] = lambda looks: Picture({"number": str(looks)})

    async def look(self) -> Picture:
        self.looks += 1
        return self.seen(self.looks)


def watching(body: Callable[[Watch, Machine], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        machine = Machine()
        one = Watch(machine.look, QUICK, heartbeat_seconds=5 * QUICK)
        task = asyncio.create_task(one.run())
        try:
            async with asyncio.timeout(10):
                return await body(one, machine)
        finally:
            task.cancel()

    return asyncio.run(main())


def test_nobody_looks_while_nobody_watches() -> None:
    async def body(one: Watch, machine: Machine) -> list[int]:
        await asyncio.sleep(10 * QUICK)
        before = machine.looks
        with one.watched():
            while machine.looks < 4:
                await asyncio.sleep(QUICK)
        await asyncio.sleep(10 * QUICK)
        after = machine.looks
        await asyncio.sleep(20 * QUICK)
        return [before, machine.looks - after]

    assert watching(body) == [0, 0]


def test_each_gets_all_at_first_and_then_what_changed() -> None:
    async def body(one: Watch, machine: Machine) -> list[dict[str, Any]]:
        machine.seen = lambda looks: Picture({"still": "same", "number": str(min(looks, 2))})
        found: list[dict[str, Any]] = []
        with one.watched():
            async for event in one.events():
                found.append(json.loads(event.removeprefix("data: "))["sections"])
                if len(found) == 2:
                    return found
        return found

    assert watching(body) == [{"still": "same", "number": "1"}, {"number": "2"}]


def test_silence_is_filled() -> None:
    async def body(one: Watch, _machine: Machine) -> str:
        return await anext(aiter(one.events()))

    assert watching(body).startswith(":")


def test_a_change_of_ones_own_is_looked_for_at_once() -> None:
    async def main() -> int:
        machine = Machine()
        one = Watch(machine.look, 3600)
        task = asyncio.create_task(one.run())
        async with asyncio.timeout(10):
            await one.fresh_picture(5)
            await one.fresh_picture(5)
        task.cancel()
        return machine.looks

    assert asyncio.run(main()) == 2


def test_so_many_watch_and_no_more() -> None:
    async def body(one: Watch, _machine: Machine) -> None:
        opened = [one.watched() for _ in range(MAX_WATCHERS)]
        for each in opened:
            each.__enter__()
        with pytest.raises(FullError), one.watched():
            pass
        opened[0].__exit__(None, None, None)
        with one.watched():
            pass

    watching(body)
