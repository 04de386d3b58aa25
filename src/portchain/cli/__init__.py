"""The command portchain: how the guests are, which ports lead into them, and the ways in, up and down.

Exit status: 0 fine, 1 what was asked about is not so, 2 wrong use. A module with COMMANDS for each command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import daemon
from . import devenv, diagnose, engine, forward, guest, logs, playbooks, ps, shell, status, trace, volume
from .common import DEFAULT_GUEST, CommandError

_MODULES = (status, logs, ps, trace, forward, shell, engine, volume, devenv, diagnose, guest, playbooks)
COMMANDS = tuple(command for module in _MODULES for command in module.COMMANDS)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    description = (__doc__ or "").splitlines()[0]
    top = argparse.ArgumentParser(prog="portchain", description=description)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        text = (command.run.__doc__ or "").splitlines()[0]
        words = commands.add_parser(command.name, help=text, description=text)
        words.add_argument("--guest", help=f"one guest; by default all, or {DEFAULT_GUEST} where it is about one")
        words.add_argument("--json", action="store_true", help="print JSON")
        words.set_defaults(run=command.run)
        command.arguments(words)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (CommandError, daemon.DaemonError) as error:
        print(f"portchain: {error}", file=sys.stderr)
        return 1
