"""A response that goes on until its text ends, its client goes, or the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_END = {"type": "http.response.body", "body": b"", "more_body": False}


class Streamed(Response):
    """``pieces`` as they come; ``at_end`` is called however it ends."""

    def __init__(
        self,
        pieces: AsyncIterator[str],
        kind: str,
        at_end: Callable[[], Awaitable[None]],
        closing: asyncio.Event,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(None, headers=headers, media_type=kind)
        del self.headers["content-length"]
        self._pieces = pieces
        self._at_end = at_end
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        ends = (self._send(send), _gone(receive), self._closing.wait())
        tasks = [asyncio.ensure_future(one) for one in ends]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._at_end()
        sending, gone, _ = tasks
        if not sending.cancelled():
            sending.result()
        elif gone.cancelled():
            await send(_END)

    async def _send(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(head)
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
        await send(_END)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
