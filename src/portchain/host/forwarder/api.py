"""The routes of the control interface and their answers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path

from ...http import json_text
from ...net.listening import BindError
from ...ports.bind_policy import Policy, PolicyError
from ...ports.forward import Endpoint, Forward
from . import dialects, saved_forwards
from .control import ControlAnswer
from .forward_changes import read_forwards
from .metrics import exposition
from .relay_link import RelayLink
from .table import ForwardTable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ControlOptions:
    """What the control interface needs to know of a guest.

    ``run_dir`` holds the guest's sockets, ``state_file`` the forwards that were declared or added by hand.
    """

    guest: str
    run_dir: Path
    state_file: Path
    policy: Policy


class ControlApi:
    """Answers requests for portchain's own routes, gvproxy's and vpnkit's.

    Request bodies are bytes; answers are a status with text or plain data.
    """

    def __init__(self, options: ControlOptions, table: ForwardTable, link: RelayLink) -> None:
        self._guest = options.guest
        self._table = table
        self._link = link
        self._state_file = options.state_file
        self._run_dir = options.run_dir
        self._policy = options.policy
        self._started = time.time()
        self._routes: dict[tuple[str, str], Callable[[bytes], ControlAnswer]] = {
            ("GET", "/status"): self._status,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/forwards"): self._list,
            ("PUT", "/forwards"): self._declare,
            ("GET", "/services/forwarder/all"): self._list_gvproxy,
            ("POST", "/services/forwarder/expose"): self._expose_gvproxy,
            ("POST", "/services/forwarder/unexpose"): self._unexpose_gvproxy,
            ("GET", "/forwards/list"): self._list_vpnkit,
            ("GET", "/forwards/dump"): self._list_vpnkit,
        }
        for kind in ("port", "pipe"):
            for method in ("PUT", "POST"):
                self._routes[method, f"/forwards/expose/{kind}"] = self._expose_vpnkit
            for method in ("DELETE", "POST"):
                self._routes[method, f"/forwards/unexpose/{kind}"] = self._unexpose_vpnkit

    def answer(self, method: str, path: str, body: bytes) -> ControlAnswer:
        """Answer one request."""
        route = self._routes.get((method, path))
        if route:
            return route(body)
        if path in ("/services/forwarder/expose", "/services/forwarder/unexpose"):
            return HTTPStatus.BAD_REQUEST, "post only"  # as gvproxy answers
        known = any(path == known_path for _, known_path in self._routes)
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
        routes = ", ".join(" ".join(key) for key in self._routes)
        return status, {"message": f"{method} {path}: no such route; there are {routes}"}

    def _status(self, _body: bytes) -> ControlAnswer:
        return HTTPStatus.OK, {
            "guest": self._guest,
            "pid": os.getpid(),
            "relay_pid": self._link.relay_pid,
            "started": self._started,
            "connected": self._link.guest is not None,
            "channel": asdict(self._link.guest) if self._link.guest else None,
            "bind": [rule.text for rule in self._policy.bind],
        }

    def _rows(self) -> list[dict[str, str | int]]:
        return [entry.as_dict() for entry in self._table]

    def _metrics(self, _body: bytes) -> ControlAnswer:
        return HTTPStatus.OK, exposition(self._guest, self._rows(), self._link.guest is not None)

    def _list(self, _body: bytes) -> ControlAnswer:
        return HTTPStatus.OK, self._rows()

    def _declare(self, body: bytes) -> ControlAnswer:
        try:
            wanted = read_forwards(_parse_json(body))
            for forward in wanted:
                self._check_socket_path(forward.listen)
            self._replace("declared", wanted)
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        except BindError as error:
            return HTTPStatus.CONFLICT, {"message": str(error)}
        except OSError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": f"host: cannot save {self._state_file}: {error}"}
        return self._list(b"")

    def _list_gvproxy(self, _body: bytes) -> ControlAnswer:
        return HTTPStatus.OK, dialects.list_gvproxy(self._bound_forwards())

    def _expose_gvproxy(self, body: bytes) -> ControlAnswer:
        try:
            self._expose(dialects.read_gvproxy(_parse_json(body)))
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        except (BindError, PolicyError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, str(error)
        return HTTPStatus.OK, ""

    def _unexpose_gvproxy(self, body: bytes) -> ControlAnswer:
        try:
            self._unexpose(dialects.read_gvproxy_listen(_parse_json(body)))
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        except (LookupError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, str(error.args[-1])
        return HTTPStatus.OK, ""

    def _list_vpnkit(self, _body: bytes) -> ControlAnswer:
        return HTTPStatus.OK, dialects.list_vpnkit(self._bound_forwards())

    def _expose_vpnkit(self, body: bytes) -> ControlAnswer:
        try:
            forward = dialects.read_vpnkit(_parse_json(body))
            if forward not in self._table.of("manual"):
                self._expose(forward)
        except (ValueError, BindError, PolicyError, OSError) as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        return HTTPStatus.OK, ""

    def _unexpose_vpnkit(self, body: bytes) -> ControlAnswer:
        try:
            self._unexpose(dialects.read_vpnkit_listen(_parse_json(body)))
        except (ValueError, LookupError, OSError) as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error.args[-1])}
        return HTTPStatus.OK, ""

    def _bound_forwards(self) -> list[Forward]:
        """Return the forwards that are listened on, except the guest's own sockets."""
        return [entry.forward for entry in self._table if entry.listener and entry.origin != "system"]

    def _expose(self, forward: Forward) -> None:
        """Add a forward by hand; raise BindError, PolicyError, ValueError or OSError."""
        listen = forward.listen
        if holder := self._table.bound(listen):
            raise BindError(f"proxy already running for {listen.hostport}: {holder.claim}")
        self._check_socket_path(listen)
        with self._table.reserving() as reserve:
            if listen.protocol != "unix" and not listen.port:
                forward = replace(forward, listen=reserve(listen))
            if listen.protocol != "unix":
                self._policy.check(forward.listen)
            self._replace("manual", [*self._table.of("manual"), forward])

    def _check_socket_path(self, listen: Endpoint) -> None:
        """Raise ValueError or BindError for a socket's path where somebody else could have put a file or a link."""
        path = Path(listen.address)
        if listen.protocol == "unix" and (path.parent != self._run_dir or path.name in ("", "..")):
            raise ValueError(f"{path}: a unix socket is listened on directly inside {self._run_dir}, nowhere else")
        if listen.protocol == "unix" and not self._table.bound(listen) and os.path.lexists(path):
            raise BindError(f"host: {path} exists already: remove it or choose another name")

    def _unexpose(self, listen: Endpoint) -> None:
        """Remove a forward that was added by hand; raise LookupError if there is none, or OSError."""
        manual = self._table.of("manual")
        remaining = [forward for forward in manual if forward.listen != listen]
        if remaining == manual:
            entry = self._table.bound(listen)
            raise LookupError(
                f"{entry.claim}, not added by hand: remove it there"
                if entry
                else f"proxy not found: nothing is forwarded from {listen.hostport}"
            )
        self._replace("manual", remaining)

    def _replace(self, origin: str, wanted: list[Forward]) -> None:
        """Make ``wanted`` the forwards of ``origin`` and save them, or change nothing; raise BindError or OSError."""
        to_save = {other: self._table.of(other) for other in saved_forwards.ORIGINS} | {origin: wanted}
        self._table.replace(wanted, origin, lambda: saved_forwards.save(self._state_file, to_save))
        log.info("%s forwards: %s", origin, ", ".join(f"{f.listen} -> {f.target}" for f in wanted) or "none")


def _parse_json(body: bytes) -> object:
    """Parse a request's body; raise ValueError."""
    value: object = json_text.parse(body)
    return value
