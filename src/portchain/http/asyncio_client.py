"""An HTTP client in asyncio for servers on unix sockets; each request has its own connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from . import json_text
from .body import ProtocolError
from .message_streams import Stream, collect, dial_unix
from .messages import Headers, ResponseHead, render
from .response import Response

SECONDS = 30.0


async def request(path: str, method: str, url: str, body: bytes | None = None, seconds: float = SECONDS) -> Response:
    """Send a request to the server on socket ``path``; return the whole response within ``seconds``. Raise OSError."""
    with named_errors(f"{path}: {method} {url}"):
        async with asyncio.timeout(seconds):
            stream, head = await send(path, method, url, body)
            with closing(stream):
                framing = head.body(method)
                content = await collect(stream, framing, json_text.MAX_BYTES)
                if not framing.complete:
                    raise ProtocolError(502, f"the response has more than {json_text.MAX_BYTES} bytes")
    return Response(head.status, head.headers, bytes(content), head.reason)


async def get_json(path: str, url: str, seconds: float = SECONDS) -> Any:
    """Return the parsed JSON at ``url``. Raise OSError, also for any status but 200."""
    response = await request(path, "GET", url, seconds=seconds)
    with named_errors(f"{path}: GET {url}"):
        if response.status != 200:
            raise OSError(error_text(response))
        return response.parsed()


async def send(
    path: str, method: str, url: str, body: bytes | None = None, *, upgrade: bool = False
) -> tuple[Stream, ResponseHead]:
    """Send a request, with ``upgrade`` one for a raw stream; return the connection and the response's head.

    The caller closes the connection. Raise OSError, ProtocolError.
    """
    connection = [("Connection", "Upgrade"), ("Upgrade", "tcp")] if upgrade else [("Connection", "close")]
    headers = Headers([("Host", "docker"), *connection])
    if body is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    stream = Stream(await dial_unix(path), "guest")
    try:
        await stream.send(render(f"{method} {url} HTTP/1.1", headers) + (body or b""))
        while raw := await stream.read_head(502):
            head = ResponseHead.parse(raw)
            if not head.interim:
                return stream, head
        raise ConnectionError("closed before it answered")
    except BaseException:
        stream.close()
        raise


@contextmanager
def named_errors(where: str) -> Iterator[None]:
    """Raise whatever goes wrong inside as an OSError whose text begins with ``where``."""
    try:
        yield
    except TimeoutError:
        raise TimeoutError(f"{where}: no answer in time") from None
    except (OSError, ProtocolError, ValueError, RecursionError) as error:
        raise OSError(f"{where}: {error}") from error


def error_text(response: Response) -> str:
    """Return the status and message with which a server refused a request."""
    try:
        message = response.parsed()["message"]
    except (ValueError, TypeError, KeyError):
        message = response.body[:200].decode(errors="replace")
    return f"{response.status} {message}"
