"""Forwards made by hand."""

from __future__ import annotations

import argparse
import json
import sys

from .. import daemon
from ..forwarder.declare import DeclareError, expose, unexpose
from ..mapping.forward import PROTOCOLS, PROXY_PROTOCOLS, Endpoint, Forward
from .common import DEFAULT_GUEST, Command, CommandError
from .ps import forwards


def run(options: argparse.Namespace) -> int:
    """Add or remove a forward by hand."""
    guest = options.guest or DEFAULT_GUEST
    control = daemon.RUN / guest / "control.sock"
    try:
        if options.action == "add":
            ends = options.listen, options.target
            expose(control, Forward.parse(*ends, options.protocol, options.proxy_protocol))
        else:
            unexpose(control, Endpoint.parse(options.listen, options.protocol))
    except ValueError as error:
        print(f"portchain: {error}", file=sys.stderr)
        return 2
    except DeclareError as error:
        raise CommandError(str(error)) from error
    if options.json:
        print(json.dumps([one for one in forwards(guest) if one["origin"] == "manual"], indent=2))
    return 0


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain forward``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action in ("add", "remove"):
        words = actions.add_parser(action, help=f"{action} a forward")
        words.add_argument("listen", metavar="LISTEN", help="the host's end: :8081, 127.0.0.1:8081, unix:/…")
        words.add_argument("--protocol", choices=PROTOCOLS, default="tcp", help="of what names none; default: tcp")
        if action == "add":
            words.add_argument("target", metavar="TARGET", help="the guest's end: 127.0.0.1:8080, unix:/…")
            words.add_argument(
                "--proxy-protocol",
                choices=[version for version in PROXY_PROTOCOLS if version],
                default="",
                help="tell the target of each client by a header of the PROXY protocol",
            )


COMMANDS = (Command("forward", run, arguments),)
