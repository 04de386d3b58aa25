"""Asking a service of a guest, over its socket on the host."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from types import MappingProxyType

from .. import daemon
from ..unix_http import UnixConnection
from .common import CommandError

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Service:
    """The service ``name`` of a guest, which may be silent for so many ``seconds``."""

    guest: str
    name: str
    seconds: float = 30.0

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[HTTPResponse]:
        """The answer, to be read within the context; raise CommandError with what the service says.

        A ``body`` of pieces is streamed.
        """
        socket = daemon.RUN / self.guest / f"{self.name}.sock"
        connection = UnixConnection(str(socket), self.seconds)
        try:
            connection.request(method, url, body, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise CommandError(_message(response))
            yield response
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
            where = f"guest {self.guest}: no answer from {self.name} ({socket}: {reason})"
            raise CommandError(f"{where}; portchain status says how the guest is") from error
        finally:
            connection.close()


def pieces(response: HTTPResponse) -> Iterator[bytes]:
    """The body of an answer."""
    while piece := response.read(_BLOCK):
        yield piece


def _message(response: HTTPResponse) -> str:
    body = response.read()
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status} {response.reason}: {body[:200].decode(errors='replace')}"
