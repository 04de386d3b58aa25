"""What the control interface answers."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path

from ..mapping.forward import Endpoint, Forward
from ..mapping.policy import PolicyError
from . import peers, state
from .control import Answer
from .guest_link import GuestLink
from .listener import BindError, free_port
from .metrics import exposition
from .options import Options
from .plan import read_forwards
from .table import Table

log = logging.getLogger(__name__)


class Api:
    """The routes: portchain's own, gvproxy's and vpnkit's. Bodies come in as bytes, answers go out as data."""

    def __init__(self, options: Options, table: Table, link: GuestLink) -> None:
        self._guest = options.guest
        self._table = table
        self._link = link
        self._state_file = options.state_file
        self._run_dir = options.run_dir
        self._policy = options.policy
        self._started = time.time()
        self._routes: dict[tuple[str, str], Callable[[bytes], Answer]] = {
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

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request."""
        route = self._routes.get((method, path))
        if route:
            return route(body)
        known = any(path == p for _, p in self._routes)
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
        return status, {"message": f"{method} {path}: there is {', '.join(' '.join(r) for r in self._routes)}"}

    def _status(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, {
            "guest": self._guest,
            "pid": os.getpid(),
            "started": self._started,
            "connected": self._link.guest is not None,
            "channel": asdict(self._link.guest) if self._link.guest else None,
            "bind": [rule.text for rule in self._policy.bind],
        }

    def _rows(self) -> list[dict[str, str | int]]:
        return [entry.as_dict() for entry in self._table]

    def _metrics(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, exposition(self._guest, self._rows(), self._link.guest is not None)

    def _list(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, self._rows()

    def _declare(self, body: bytes) -> Answer:
        try:
            wanted = read_forwards(_json(body))
            for forward in wanted:
                self._check_path(forward.listen)
            self._replace("declared", wanted)
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        except BindError as error:
            return HTTPStatus.CONFLICT, {"message": str(error)}
        except OSError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": f"host: keeping {self._state_file}: {error}"}
        return self._list(b"")

    def _list_gvproxy(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, peers.list_gvproxy(self._ports())

    def _expose_gvproxy(self, body: bytes) -> Answer:
        try:
            self._expose(peers.read_gvproxy(_json(body)))
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        except (BindError, PolicyError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, str(error)
        return HTTPStatus.OK, ""

    def _unexpose_gvproxy(self, body: bytes) -> Answer:
        try:
            self._unexpose(peers.read_gvproxy_listen(_json(body)))
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        except (LookupError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, str(error.args[-1])
        return HTTPStatus.OK, ""

    def _list_vpnkit(self, _body: bytes) -> Answer:
        return HTTPStatus.OK, peers.list_vpnkit(self._ports())

    def _expose_vpnkit(self, body: bytes) -> Answer:
        try:
            forward = peers.read_vpnkit(_json(body))
            if forward not in self._table.of("manual"):
                self._expose(forward)
        except (ValueError, BindError, PolicyError, OSError) as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        return HTTPStatus.OK, ""

    def _unexpose_vpnkit(self, body: bytes) -> Answer:
        try:
            self._unexpose(peers.read_vpnkit(_json(body)).listen)
        except (ValueError, LookupError, OSError) as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error.args[-1])}
        return HTTPStatus.OK, ""

    def _ports(self) -> list[Forward]:
        return [entry.forward for entry in self._table if entry.listener and entry.origin != "system"]

    def _expose(self, forward: Forward) -> None:
        listen = forward.listen
        if self._table.bound(listen):
            raise BindError(f"proxy already running for {listen.place}")
        self._check_path(listen)
        if listen.protocol != "unix" and not listen.port:
            forward = replace(forward, listen=free_port(listen))
        if listen.protocol != "unix":
            self._policy.check(forward.listen)
        self._replace("manual", [*self._table.of("manual"), forward])

    def _check_path(self, listen: Endpoint) -> None:
        """Refuse sockets where somebody else could have put a file or a link."""
        path = Path(listen.address)
        if listen.protocol == "unix" and (path.parent != self._run_dir or path.name in ("", "..")):
            raise ValueError(f"{path}: a unix socket is listened on directly inside {self._run_dir}, nowhere else")
        if listen.protocol == "unix" and not self._table.bound(listen) and os.path.lexists(path):
            raise BindError(f"host: {path} is there already: remove it or choose another name")

    def _unexpose(self, listen: Endpoint) -> None:
        by_hand = self._table.of("manual")
        rest = [f for f in by_hand if f.listen != listen]
        if rest == by_hand:
            entry = self._table.bound(listen)
            raise LookupError(
                f"{entry.claim}, not added by hand: remove it there"
                if entry
                else f"proxy not found: nothing is forwarded from {listen.place}"
            )
        self._replace("manual", rest)

    def _replace(self, origin: str, wanted: list[Forward]) -> None:
        kept = {other: self._table.of(other) for other in state.ORIGINS} | {origin: wanted}
        self._table.replace(wanted, origin, lambda: state.save(self._state_file, kept))
        log.info("%s forwards: %s", origin, ", ".join(f"{f.listen} -> {f.target}" for f in wanted) or "none")


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    return found
