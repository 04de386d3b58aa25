"""Declaring forwards to a running forwarder, and foretelling what it would say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..mapping.conflict import clash
from ..mapping.forward import Endpoint, Forward
from ..preflight.sockets import why_not_bound
from ..unix_http import get_json, request
from .listener import bind_message
from .peers import list_gvproxy
from .plan import Plan

_DEADLINE = 30.0


class DeclareError(Exception):
    """The forwards cannot be as asked for; the message is the forwarder's."""


def listed(control: Path, may_be_absent: bool = False) -> list[dict[str, Any]]:
    """All forwards as the control interface lists them; raise DeclareError."""
    if may_be_absent and not control.exists():
        return []
    try:
        found: list[dict[str, Any]] = get_json(str(control), "/forwards", _DEADLINE)
    except (OSError, ValueError) as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error
    return found


def declared(control: Path, may_be_absent: bool = False) -> list[dict[str, Any]]:
    """The declared forwards; raise DeclareError."""
    return [f for f in listed(control, may_be_absent) if f["origin"] == "declared"]


def bound(rows: Iterable[Mapping[str, Any]]) -> list[Forward]:
    """Those of the forwards listed that are listened on."""
    words = ("listen", "target", "protocol", "proxy_protocol")
    return [Forward.parse(*(row[word] for word in words)) for row in rows if row["state"] != "failed"]


def declare(control: Path, forwards: Iterable[Forward]) -> list[dict[str, Any]]:
    """Make ``forwards`` the declared ones and list them; raise DeclareError."""
    try:
        status, answer = request(str(control), "PUT", "/forwards", _DEADLINE, [f.as_dict() for f in forwards])
        found = json.loads(answer)
    except (OSError, ValueError) as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error
    if status != HTTPStatus.OK:
        raise DeclareError(found["message"])
    return [f for f in found if f["origin"] == "declared"]


def predict_conflicts(steps: Plan) -> None:
    """Raise DeclareError for the first listener that could not be opened now, in the forwarder's own words.

    Listeners of the forwarder's own that would make way are in nobody's way.
    """
    for forward in steps.open:
        own = any(clash(forward.listen, f.listen) for f in steps.make_way)
        error = None if own else why_not_bound(forward.listen)
        if error:
            raise DeclareError(bind_message(forward.listen, error))


def expose(control: Path, forward: Forward) -> None:
    """Add a forward by hand; raise DeclareError."""
    (asked,) = list_gvproxy([forward])
    _post(control, "expose", asked)


def unexpose(control: Path, listen: Endpoint) -> None:
    """Remove a forward that was added by hand; raise DeclareError."""
    _post(control, "unexpose", {"local": listen.place, "protocol": listen.protocol})


def _post(control: Path, verb: str, body: dict[str, str]) -> None:
    try:
        status, answer = request(str(control), "POST", f"/services/forwarder/{verb}", _DEADLINE, body)
    except OSError as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error
    if status != HTTPStatus.OK:
        raise DeclareError(f"host: {answer.decode(errors='replace').removeprefix('host: ')}")
