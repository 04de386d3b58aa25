"""devenv-service: make, list and remove development environments, over HTTP.

GET /environments                              rows as `Environments.rows` gives them
PUT /environments/NAME?source=URL&branch=…     git clones the URL in the guest
PUT … with application/x-git-bundle            git clones the bundle; source= becomes its origin
PUT … with application/x-tar                   the archive is unpacked; source= says where it comes from
DELETE /environments/NAME

A PUT is answered with lines of JSON: {"progress": …} while it goes on, then {"ready": NAME}, or {"message": …} for an
error. If the client goes away, nothing of the environment is left.
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

from ....http.body import ProtocolError
from ....http.server import HttpService, RequestError, ServiceRequest, ServiceResponse
from ...engine_api import ask
from ...service_socket import listen
from . import fillings
from .environments import Environments, Filling

_SOCKET = Path("/run/guest-services/devenv-service.sock")
_PREFIX = "/environments"
_TAR, _BUNDLE = "application/x-tar", "application/x-git-bundle"
_RETRY = 1.0


class DevenvApi:
    """Routes the requests to the service's socket."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    def answer(self, request: ServiceRequest) -> ServiceResponse:
        """Answer one request; may be called from any thread."""
        folder, _, name = request.path.rpartition("/")
        match request.method, request.path if request.path == _PREFIX else folder:
            case "GET", path if path == request.path:
                return ServiceResponse(self._environments.rows())
            case "PUT", path if path == _PREFIX:
                return self._fill(name, request)
            case "DELETE", path if path == _PREFIX:
                self._environments.remove(name)
                return ServiceResponse({"removed": name})
        message = f"devenv-service: no {request.method} {request.path}"
        raise RequestError(HTTPStatus.NOT_FOUND, message)

    def _fill(self, name: str, request: ServiceRequest) -> ServiceResponse:
        source = request.query.get("source", "")
        if not source:
            raise RequestError(HTTPStatus.BAD_REQUEST, "guest: source= is missing; give what to fill from")
        if request.kind not in (_TAR, _BUNDLE):
            fillings.check_url(source)
        stack = contextlib.ExitStack()
        kind = "folder" if request.kind == _TAR else "git"
        filling = stack.enter_context(self._environments.filling(name, kind, source))
        steps = self._steps(filling, source, request)
        return ServiceResponse(_report_progress(stack, name, steps, request.body), kind="application/x-ndjson")

    def _steps(self, filling: Filling, source: str, request: ServiceRequest) -> Iterator[str]:
        branch = request.query.get("branch", "")
        if request.kind == _TAR:
            return fillings.from_tar(filling, request.body)
        if request.kind == _BUNDLE:
            return fillings.from_bundle(filling, request.body, branch)
        return fillings.from_git(filling, source, branch)


def _report_progress(
    stack: contextlib.ExitStack, name: str, steps: Iterator[str], body: Iterator[bytes]
) -> Iterator[bytes]:
    """Fill the environment and yield the lines of the answer; raise RequestError if it fails before the first."""
    started = False
    try:
        with stack:
            for line in steps:
                yield _line({"progress": line})
                started = True
        last = {"ready": name}
    except (RequestError, ProtocolError, OSError) as error:
        if not started:
            status = error.status if isinstance(error, RequestError) else HTTPStatus.UNPROCESSABLE_ENTITY
            raise RequestError(HTTPStatus(status), str(error)) from None
        with contextlib.suppress(ProtocolError, OSError):
            for _ in body:  # a client reads the answer only when it has sent everything
                pass
        last = {"message": str(error)}
    yield _line(last)


def _line(row: dict[str, str]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def clear_leftovers(environments: Environments) -> None:
    """Remove what an earlier run of the service left, as soon as the engine answers."""
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
    """Serve until the process is ended."""
    environments = Environments(ask)
    threading.Thread(target=clear_leftovers, args=(environments,), daemon=True).start()
    HttpService(listen(_SOCKET), DevenvApi(environments).answer).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
