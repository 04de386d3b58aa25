"""A client of the engine's API over a unix socket, for the daemon's own requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from ...http import json_text
from ...http.asyncio_client import SECONDS, error_text, named_errors, request, send
from ...http.body import Body, ProtocolError
from ...http.message_streams import Stream, collect
from ...http.response import Response
from ...http.turns import Turns

# The drivers of networks on which no port is published. On an internal network none is published either.
UNPUBLISHED = ("host", "null", "macvlan", "ipvlan")
_PARTS = ("Config", "HostConfig", "NetworkSettings", "State")  # of an inspection that are read
MAX_EVENT = 4 * 1024 * 1024  # bytes
MAX_EVENT_VALUES = 20_000
MAX_NETWORKS = 100  # of a container that are looked at
MAX_ID = 128  # characters


class EngineClient:
    """Sends requests to the engine on the socket ``path``; long answers are read in ``turns``.

    The engine is the guest's: an answer of another shape than asked for raises OSError as none at all does.
    """

    def __init__(self, path: str, turns: Turns | None = None) -> None:
        self._path = path
        self.turns = turns or Turns()

    async def get(self, url: str) -> Any:
        """Return the parsed JSON of a GET request. Raise OSError."""
        return await self._parsed(url, await self._ask("GET", url))

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """Return the inspection of a container by name or id, None if there is none. Raise OSError."""
        url = f"/containers/{quote(container, safe='', errors='replace')}/json"
        response = await self._ask("GET", url)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        document = await self._parsed(url, response)
        if not (is_container(document) and all(isinstance(document.get(part) or {}, dict) for part in _PARTS)):
            raise OSError(f"{self._path}: GET {url}: the answer is no inspection of a container")
        inspection: dict[str, Any] = document
        return inspection

    async def publishes(self, container: Mapping[str, Any]) -> bool:
        """Return whether the engine publishes ports on any network of an inspected container; True if unknown."""
        try:
            names = list((container.get("NetworkSettings") or {}).get("Networks") or {})[:MAX_NETWORKS]
            networks = [await self.get(f"/networks/{quote(name, safe='', errors='replace')}") for name in names]
            return not networks or any(
                not network["Internal"] and network["Driver"] not in UNPUBLISHED for network in networks
            )
        except (OSError, AttributeError, KeyError, TypeError):  # the start will report it
            return True

    async def _ask(self, method: str, url: str) -> Response:
        return await request(self._path, method, url)

    async def _parsed(self, url: str, response: Response) -> Any:
        with named_errors(f"{self._path}: GET {url}"):
            if response.status != HTTPStatus.OK:
                raise OSError(error_text(response))
            async with self.turns.turn(response.body):
                return response.parsed()

    async def remove(self, container: str) -> None:
        """Remove a container with its anonymous volumes. Raise OSError."""
        url = f"/containers/{quote(container, safe='')}?force=1&v=1"
        response = await self._ask("DELETE", url)
        with named_errors(f"{self._path}: DELETE {url}"):
            if response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
                raise OSError(error_text(response))


def is_container(document: object) -> bool:
    """Return whether a document, such as an inspection or a row of a list, has the id of a container."""
    return isinstance(document, dict) and isinstance(document.get("Id"), str) and len(document["Id"]) <= MAX_ID


@asynccontextmanager
async def events(
    path: str, filters: Mapping[str, Sequence[str]], seconds: float = SECONDS, max_event: int = MAX_EVENT
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Subscribe to the engine's events; yield an iterator of them as parsed JSON.

    No event after the context is entered is missed. ``filters`` are the engine's own. ``seconds`` limit the
    subscription only. Raise OSError, also when the events end or one has more than ``max_event`` bytes.
    """
    url = f"/events?{urlencode({'filters': json.dumps(filters)})}"
    label = f"{path}: GET /events"
    with named_errors(label):
        async with asyncio.timeout(seconds):
            stream, answer = await send(path, "GET", url)
    with closing(stream):
        with named_errors(label):
            framing = answer.body("GET")
            if answer.status != 200:
                content = await collect(stream, framing, max_event)
                raise OSError(error_text(Response(answer.status, answer.headers, bytes(content))))
        yield _events(stream, framing, label, max_event)


async def _events(stream: Stream, framing: Body, label: str, max_event: int) -> AsyncIterator[dict[str, Any]]:
    content = bytearray()
    while not framing.complete:
        with named_errors(label):
            searched = len(content)
            if data := await stream.peek():
                stream.consume(framing.take(data, content))
            else:
                framing.end()
            lines: list[bytearray] = []
            if (end := content.rfind(b"\n", searched)) >= 0:
                lines, content = content[:end].split(b"\n"), content[end + 1 :]
            if len(content) > max_event:
                raise ProtocolError(502, f"an event has more than {max_event} bytes")
            events = [json_text.parse(line, MAX_EVENT_VALUES) for line in lines if line.strip()]
        for event in events:
            yield event
    raise ConnectionError(f"{label}: the events ended")
