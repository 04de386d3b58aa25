"""Give disk space of the host that a guest no longer needs back."""

from __future__ import annotations

import argparse
import json

from .common import DEFAULT_GUEST, Command, format_size
from .service import ServiceClient

_SECONDS = 300.0


def run(options: argparse.Namespace) -> int:
    """Give disk space that the guest no longer needs back to the host, now."""
    guest = options.guest or DEFAULT_GUEST
    with ServiceClient(guest, "trim-after-delete", _SECONDS).ask("POST", "/trim") as reply:
        answer = reply.json()
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{guest}: {format_size(answer['freed'])} came back, the data disk holds {format_size(answer['held'])}")
    return 0


COMMANDS = (Command("reclaim", run),)
