"""Add and remove forwards by hand."""

from __future__ import annotations

import argparse
import json

from ..host.forwarder.declare import DeclareError, expose, unexpose
from ..linux import service_manager
from ..ports.forward import PROTOCOLS, PROXY_PROTOCOLS, Endpoint, Forward
from .common import Command, CommandError, UsageError
from .ps import forwards


def run(options: argparse.Namespace) -> int:
    """Add or remove a forward by hand."""
    control = service_manager.RUN / options.guest / "control.sock"
    try:
        if options.action == "add":
            ends = options.listen, options.target
            expose(control, Forward.parse(*ends, options.protocol, options.proxy_protocol))
        else:
            unexpose(control, Endpoint.parse(options.listen, options.protocol))
    except ValueError as error:
        raise UsageError(str(error)) from None
    except DeclareError as error:
        raise CommandError(str(error)) from error
    if options.json:
        print(json.dumps([forward for forward in forwards(options.guest) if forward["origin"] == "manual"], indent=2))
    return 0


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain forward``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action in ("add", "remove"):
        action_parser = actions.add_parser(action, help=f"{action} a forward")
        action_parser.add_argument(
            "listen", metavar="LISTEN", help="where the host listens: :8081, 127.0.0.1:8081, unix:/…"
        )
        action_parser.add_argument(
            "--protocol", choices=PROTOCOLS, default="tcp", help="if LISTEN names none; default: tcp"
        )
        if action == "add":
            action_parser.add_argument(
                "target", metavar="TARGET", help="where it leads in the guest: 127.0.0.1:8080, unix:/…"
            )
            action_parser.add_argument(
                "--proxy-protocol",
                choices=[version for version in PROXY_PROTOCOLS if version],
                default="",
                help="announce each client to the target by a header of the PROXY protocol",
            )


COMMANDS = (Command("forward", run, arguments),)
