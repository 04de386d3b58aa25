"""The command portchain: how the guests are, which ports lead into them, and the ways in, up and down.

Exit status: 0 fine, 1 what was asked about is not so, 2 wrong use. Each command is in a module with COMMANDS, which is
imported when the command is used.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..linux.service_manager import DaemonError
from . import standard_streams
from .common import DEFAULT_GUEST, Command, CommandError

_INTERRUPTED = 128 + signal.SIGINT


class CommandEntry(NamedTuple):
    """A command's module, and the first line of its help."""

    module: str
    text: str


COMMANDS = {
    "status": CommandEntry("status", "Show the state of the guests; of a single guest, its services as well."),
    "logs": CommandEntry("logs", "Print the services' logs, oldest line first."),
    "ps": CommandEntry("ps", "List the forwards."),
    "trace": CommandEntry("trace", "Walk the chain from a port of the host, hop by hop, and say what is broken."),
    "report": CommandEntry("report", "Draw the machine with all its chains on one HTML page, and say what is broken."),
    "dashboard": CommandEntry(
        "dashboard", "Serve a page on 127.0.0.1 that shows the guest live, and starts and stops what is in it."
    ),
    "forward": CommandEntry("manual_forwards", "Add or remove a forward by hand."),
    "shell": CommandEntry("shell", "Open a root shell in the guest, or run one command there."),
    "engine": CommandEntry("engine", "Start, stop, restart or configure the engine."),
    "volume": CommandEntry("volume", "List the volumes or the files of one, or print a file."),
    "reclaim": CommandEntry("reclaim", "Give disk space that the guest no longer needs back to the host, now."),
    "devenv": CommandEntry(
        "devenv", "Make, list or remove development environments: volumes filled from a git repository or a folder."
    ),
    "diagnose": CommandEntry(
        "diagnose", "Gather logs, configurations without secrets, sockets, rules, links and versions in one archive."
    ),
    "guest": CommandEntry("guest", "Check a guest's YAML, or print the default guest's."),
    "up": CommandEntry("playbooks", "Bring the guests up as the inventory says, and show the path of each port."),
    "down": CommandEntry("playbooks", "Take the guests away, with their data disks; the images stay."),
}


def load_command(name: str) -> Command:
    """Import and return the command with a name."""
    module = importlib.import_module(f".{COMMANDS[name].module}", __name__)
    command: Command = next(candidate for candidate in module.COMMANDS if candidate.name == name)
    return command


class Parser(argparse.ArgumentParser):
    """A parser that takes ``--guest`` and ``--json`` anywhere, and loads its ``command`` when it is used."""

    def __init__(self, *, command: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._command = command
        guest = f"the guest; default: all, or {DEFAULT_GUEST} for commands about one"
        self.add_argument("--guest", metavar="NAME", default=argparse.SUPPRESS, help=guest)
        self.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Load the command first, then parse as argparse does."""
        if self._command:
            command = load_command(self._command)
            self._command = ""
            self.set_defaults(command=command)
            command.arguments(self)
        return super().parse_known_args(args, namespace)


class _Version(argparse.Action):
    """Print the version of the installed package."""

    def __call__(self, *_: Any) -> None:
        import importlib.metadata  # noqa: PLC0415  # slow to load, and seldom needed

        print(f"portchain {importlib.metadata.version('portchain')}")
        sys.exit(0)


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    top = Parser(prog="portchain", description=(__doc__ or "").splitlines()[0])
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    top.set_defaults(guest=None, json=False)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, entry in COMMANDS.items():
        commands.add_parser(name, help=entry.text, description=entry.text, command=name)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    if arguments is None:
        standard_streams.guard()
    try:
        try:
            return _run(make_parser().parse_args(arguments))
        finally:
            sys.stdout.flush()
    except standard_streams.OutputError as error:
        return error.report()


def _run(options: argparse.Namespace) -> int:
    command: Command = options.command
    try:
        command.check_guest(options)
        return command.run(options)
    except (CommandError, DaemonError) as error:
        print(f"portchain: {error}", file=sys.stderr)
        return error.status if isinstance(error, CommandError) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
