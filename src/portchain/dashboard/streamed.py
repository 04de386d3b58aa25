"""A response that lasts until its text ends, its client leaves, or the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_END = {"type": "http.response.body", "body": b"", "more_body": False}


class Streamed(Response):
    """A response of ``pieces`` as they arrive; ``at_end`` is called however it ends."""

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
        """Send the response, as an ASGI application."""
        causes = (self._send(send), _gone(receive), self._closing.wait())
        tasks = [asyncio.ensure_future(cause) for cause in causes]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._at_end()
        sending, disconnected, _ = tasks
        if not sending.cancelled():
            sending.result()
        elif disconnected.cancelled():
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
