"""A client of the engine's API for the daemon's own questions, over a unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any
from urllib.parse import urlencode

from .body import Body, ProtocolError
from .exchange import MAX_RESPONSE, Response
from .http1 import Answer, Headers, render
from .stream import Stream, collect, dial_unix

SECONDS = 30.0
MAX_EVENT = 4 * 1024 * 1024  # bytes


async def request(path: str, method: str, url: str, body: bytes | None = None, seconds: float = SECONDS) -> Response:
    """The whole response of the server on the socket ``path``, within ``seconds``. Raise OSError."""
    with _named(f"{path}: {method} {url}"):
        async with asyncio.timeout(seconds):
            stream, answer = await _ask(path, method, url, body)
            with closing(stream):
                framing = answer.body(method)
                content = await collect(stream, framing, MAX_RESPONSE)
                if not framing.complete:
                    raise ProtocolError(502, f"the response has more than {MAX_RESPONSE} bytes")
    return Response(answer.status, answer.headers, bytes(content), answer.reason)


async def get_json(path: str, url: str, seconds: float = SECONDS) -> Any:
    """The JSON that ``url`` has. Raise OSError, also for any status but 200."""
    response = await request(path, "GET", url, seconds=seconds)
    with _named(f"{path}: GET {url}"):
        if response.status != 200:
            raise OSError(_told(response))
        return response.parsed()


@asynccontextmanager
async def events(
    path: str, filters: Mapping[str, Sequence[str]], seconds: float = SECONDS
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The engine's events from now on, each as its JSON; the engine has them ready once this is entered.

    ``filters`` are the engine's own. ``seconds`` bound the subscribing alone. Raise OSError, also when the events end.
    """
    url = f"/events?{urlencode({'filters': json.dumps(filters)})}"
    where = f"{path}: GET /events"
    with _named(where):
        async with asyncio.timeout(seconds):
            stream, answer = await _ask(path, "GET", url)
    with closing(stream):
        with _named(where):
            framing = answer.body("GET")
            if answer.status != 200:
                content = await collect(stream, framing, MAX_EVENT)
                raise OSError(_told(Response(answer.status, answer.headers, bytes(content))))
        yield _events(stream, framing, where)


async def _events(stream: Stream, framing: Body, where: str) -> AsyncIterator[dict[str, Any]]:
    content = bytearray()
    while not framing.complete:
        with _named(where):
            if data := await stream.peek():
                stream.consume(framing.take(data, content))
            else:
                framing.end()
            *lines, content = content.split(b"\n")
            if len(content) > MAX_EVENT:
                raise ProtocolError(502, f"an event has more than {MAX_EVENT} bytes")
            events = [json.loads(line) for line in lines if line.strip()]
        for event in events:
            yield event
    raise ConnectionError(f"{where}: the events ended")


async def _ask(path: str, method: str, url: str, body: bytes | None = None) -> tuple[Stream, Answer]:
    """Send a request; returns the connection and the response's head."""
    headers = Headers([("Host", "docker"), ("Connection", "close")])
    if body is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    stream = Stream(await dial_unix(path), "guest")
    try:
        await stream.send(render(f"{method} {url} HTTP/1.1", headers) + (body or b""))
        while raw := await stream.read_head(502):
            answer = Answer.parse(raw)
            if not answer.interim:
                return stream, answer
        raise ConnectionError("closed before it answered")
    except BaseException:
        stream.close()
        raise


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Whatever goes wrong is an OSError that says where."""
    try:
        yield
    except TimeoutError:
        raise TimeoutError(f"{where}: no answer in time") from None
    except (OSError, ProtocolError, ValueError, RecursionError) as error:
        raise OSError(f"{where}: {error}") from error


def _told(response: Response) -> str:
    try:
        message = response.parsed()["message"]
    except (ValueError, TypeError, KeyError):
        message = response.body[:200].decode(errors="replace")
    return f"{response.status} {message}"
