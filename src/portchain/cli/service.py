"""A client for the services of a guest, over their sockets on the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..http import blocking_client
from ..http.blocking_client import Content, Reply
from ..linux import service_manager
from .common import CommandError


@dataclass(frozen=True)
class ServiceClient:
    """The service ``name`` of a guest, which has so many ``seconds`` for each answer."""

    guest: str
    name: str
    seconds: float = 30.0

    @contextmanager
    def ask(self, method: str, url: str, content: Content | None = None) -> Iterator[Reply]:
        """Send a request and give the answer to the context; raise CommandError with the service's message."""
        socket = service_manager.RUN / self.guest / f"{self.name}.sock"
        try:
            with blocking_client.ask(str(socket), method, url, self.seconds, content) as reply:
                if reply.status >= 400:
                    raise CommandError(_message(reply))
                yield reply
        except OSError as error:
            reason = str(error) or type(error).__name__
            problem = f"guest {self.guest}: no answer from {self.name} ({socket}: {reason})"
            raise CommandError(f"{problem}; portchain status says how the guest is") from error


def _message(reply: Reply) -> str:
    """Return the message of an answer that is an error."""
    body = reply.read()
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{reply.status} {reply.reason}: {body[:200].decode(errors='replace')}"
