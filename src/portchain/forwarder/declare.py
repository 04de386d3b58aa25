"""Declaring forwards to a running forwarder, and foretelling what it would say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..mapping.conflict import clash
from ..mapping.forward import Forward
from ..preflight.sockets import why_not_bound
from ..unix_http import get_json, request
from .listener import bind_message
from .plan import Plan

_DEADLINE = 30.0


class DeclareError(Exception):
    """The forwards cannot be as asked for; the message is the forwarder's."""


def declared(control: Path, may_be_absent: bool = False) -> list[dict[str, Any]]:
    """The declared forwards as the control interface lists them; raise DeclareError."""
    if may_be_absent and not control.exists():
        return []
    try:
        return [f for f in get_json(str(control), "/forwards", _DEADLINE) if f["origin"] == "declared"]
    except (OSError, ValueError) as error:
        raise DeclareError(f"host: no answer from the forwarder on {control}: {error}; is it running?") from error


def bound(listed: Iterable[Mapping[str, Any]]) -> list[Forward]:
    """Those of the forwards listed that are listened on."""
    return [Forward.parse(f["listen"], f["target"], f["protocol"]) for f in listed if f["state"] != "failed"]


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
