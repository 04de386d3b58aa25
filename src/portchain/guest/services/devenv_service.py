"""devenv-service: make, list and remove development environments, over HTTP.

GET /environments                              rows as `Environments.rows` gives them
PUT /environments/NAME?source=URL&branch=…     git clones the URL in the guest
PUT … with application/x-git-bundle            git clones the bundle, source= becomes its origin
PUT … with application/x-tar                   the archive is unpacked, source= says what of
DELETE /environments/NAME

A PUT is answered with lines of JSON while it goes on: {"progress": …}, then {"ready": NAME} or {"message": …} for an
error. When the client goes away, nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from ...engine.body import ProtocolError
from . import devenv_fill
from .devenv import Environments, Filling
from .engine_api import ask
from .http_service import HttpService, Request, RequestError, Response
from .unix_socket import listen

_SOCKET = Path("/run/guest-services/devenv-service.sock")
_PREFIX = "/environments"
_TAR, _BUNDLE = "application/x-tar", "application/x-git-bundle"
_RETRY = 1.0


class Api:
    """What the socket answers."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    def answer(self, request: Request) -> Response:
        """Answer one request; called from any thread."""
        folder, _, name = request.path.rpartition("/")
        match request.method, request.path if request.path == _PREFIX else folder:
            case "GET", path if path == request.path:
                return Response(self._environments.rows())
            case "PUT", path if path == _PREFIX:
                return self._fill(name, request)
            case "DELETE", path if path == _PREFIX:
                self._environments.remove(name)
                return Response({"removed": name})
        message = f"devenv-service: no {request.method} {request.path}"
        raise RequestError(HTTPStatus.NOT_FOUND, message)

    def _fill(self, name: str, request: Request) -> Response:
        source = request.query.get("source", "")
        if not source:
            raise RequestError(HTTPStatus.BAD_REQUEST, "guest: source= says what to fill it from, and is missing")
        if request.kind not in (_TAR, _BUNDLE):
            devenv_fill.check_url(source)
        stack = contextlib.ExitStack()
        kind = "folder" if request.kind == _TAR else "git"
        filling = stack.enter_context(self._environments.filling(name, kind, source))
        steps = self._steps(filling, source, request)
        return Response(_progress(stack, name, steps, request.body), kind="application/x-ndjson")

    def _steps(self, filling: Filling, source: str, request: Request) -> Iterator[str]:
        branch = request.query.get("branch", "")
        if request.kind == _TAR:
            return devenv_fill.from_tar(filling, request.body)
        if request.kind == _BUNDLE:
            return devenv_fill.from_bundle(filling, request.body, branch)
        return devenv_fill.from_git(filling, source, branch)


def _progress(stack: contextlib.ExitStack, name: str, steps: Iterator[str], body: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of an answer, during which the environment is filled. Raise RequestError while there is none yet."""
    told = False
    try:
        with stack:
            for line in steps:
                yield _line({"progress": line})
                told = True
        last = {"ready": name}
    except (RequestError, ProtocolError, OSError) as error:
        if not told:
            status = error.status if isinstance(error, RequestError) else HTTPStatus.UNPROCESSABLE_ENTITY
            raise RequestError(HTTPStatus(status), str(error)) from None
        with contextlib.suppress(ProtocolError, OSError):
            for _ in body:  # a client that still sends would not read the answer
                pass
        last = {"message": str(error)}
    yield _line(last)


def _line(row: dict[str, str]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def clear(environments: Environments) -> None:
    """Remove what an earlier service left, as soon as the engine answers."""
    while True:
        try:
            environments.clear()
        except RequestError as error:
            if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                print(error, file=sys.stderr, flush=True)
                return
            time.sleep(_RETRY)
        else:
            return


def main() -> int:
    """Serve until told to end."""
    environments = Environments(ask)
    threading.Thread(target=clear, args=(environments,), daemon=True).start()
    HttpService(listen(_SOCKET), Api(environments).answer).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
