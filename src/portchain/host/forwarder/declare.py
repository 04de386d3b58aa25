"""A client of the control interface: listing and declaring forwards, and predicting conflicts in check mode."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ...http.blocking_client import get_json, request
from ...net.listening import bind_message
from ...net.listening_sockets import try_bind
from ...ports.conflicts import clash
from ...ports.forward import Endpoint, Forward
from .dialects import list_gvproxy
from .forward_changes import ForwardChanges

_DEADLINE = 30.0


class DeclareError(Exception):
    """The forwarder refused the forwards or did not answer; the message says why."""


def list_forwards(control: Path, may_be_absent: bool = False) -> list[dict[str, Any]]:
    """Return all forwards as the control interface lists them; raise DeclareError."""
    if may_be_absent and not control.exists():
        return []
    try:
        rows: list[dict[str, Any]] = get_json(str(control), "/forwards", _DEADLINE)
    except (OSError, ValueError) as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error
    return rows


def list_declared(control: Path, may_be_absent: bool = False) -> list[dict[str, Any]]:
    """Return the declared forwards as the control interface lists them; raise DeclareError."""
    return [row for row in list_forwards(control, may_be_absent) if row["origin"] == "declared"]


def bound_forwards(rows: Iterable[Mapping[str, Any]]) -> list[Forward]:
    """Return the listed forwards that are listened on."""
    keys = ("listen", "target", "protocol", "proxy_protocol")
    return [Forward.parse(*(row[key] for key in keys)) for row in rows if row["state"] != "failed"]


def declare(control: Path, forwards: Iterable[Forward]) -> list[dict[str, Any]]:
    """Make ``forwards`` the only declared ones and return them as listed; raise DeclareError."""
    try:
        status, body = request(str(control), "PUT", "/forwards", _DEADLINE, [f.as_dict() for f in forwards])
        answer = json.loads(body)
    except (OSError, ValueError) as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error
    if status != HTTPStatus.OK:
        raise DeclareError(answer["message"])
    return [row for row in answer if row["origin"] == "declared"]


def predict_conflicts(changes: ForwardChanges) -> None:
    """Raise DeclareError, with the forwarder's message, for the first listener that could not be opened now.

    Listeners of the forwarder itself that would be closed first are no conflict.
    """
    for forward in changes.open:
        replaces_own = any(clash(forward.listen, closed.listen) for closed in changes.make_way)
        error = None if replaces_own else try_bind(forward.listen)
        if error:
            raise DeclareError(bind_message(forward.listen, error))


def expose(control: Path, forward: Forward) -> None:
    """Add a forward by hand; raise DeclareError."""
    (row,) = list_gvproxy([forward])
    _post(control, "expose", row)


def unexpose(control: Path, listen: Endpoint) -> None:
    """Remove a forward that was added by hand; raise DeclareError."""
    _post(control, "unexpose", {"local": listen.hostport, "protocol": listen.protocol})


def _post(control: Path, verb: str, body: dict[str, str]) -> None:
    try:
        status, answer = request(str(control), "POST", f"/services/forwarder/{verb}", _DEADLINE, body)
    except OSError as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error
    if status != HTTPStatus.OK:
        raise DeclareError(f"host: {answer.decode(errors='replace').removeprefix('host: ')}")
