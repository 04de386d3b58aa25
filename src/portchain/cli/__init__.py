"""The command portchain: how the guests are, which ports lead into them, and the ways in, up and down.

Exit status: 0 fine, 1 what was asked about is not so, 2 wrong use. Each command is in a module with COMMANDS, which is
imported when the command is used.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..daemon import DaemonError
from .common import DEFAULT_GUEST, Command, CommandError

_CUT_SHORT = 128 + signal.SIGPIPE


class Entry(NamedTuple):
    """The module that has a command, and the first line of its help."""

    module: str
    text: str


COMMANDS = {
    "status": Entry("status", "How the guests are; with one guest, its services as well."),
    "logs": Entry("logs", "The services' logs, oldest line first."),
    "ps": Entry("ps", "The forwards."),
    "trace": Entry("trace", "Walk the chain from a port of the host, hop by hop, and say what is broken."),
    "report": Entry("report", "Draw the machine with all its chains on one HTML page, and say what is broken."),
    "dashboard": Entry(
        "dashboard", "Serve a page on 127.0.0.1 that shows the guest as it is, and starts and stops what is in it."
    ),
    "forward": Entry("forward", "Add or remove a forward by hand."),
    "shell": Entry("shell", "A root shell in the guest, or one command there."),
    "engine": Entry("engine", "Start, stop, restart or configure the engine."),
    "volume": Entry("volume", "List the volumes or the files of one, or print a file."),
    "devenv": Entry(
        "devenv", "Make, list or remove development environments: volumes filled from a git repository or a folder."
    ),
    "diagnose": Entry(
        "diagnose", "Gather logs, configurations without secrets, sockets, rules, links and versions in one archive."
    ),
    "guest": Entry("guest", "Say what is wrong with a guest's YAML, with file, line and key."),
    "up": Entry("playbooks", "Bring the guests up as the inventory says, and show the way of each port."),
    "down": Entry("playbooks", "Take the guests down without a trace."),
}


def load(name: str) -> Command:
    """The command of a name."""
    module = importlib.import_module(f".{COMMANDS[name].module}", __name__)
    found: Command = next(one for one in module.COMMANDS if one.name == name)
    return found


def parser(used: str = "") -> argparse.ArgumentParser:
    """The command line; of the commands the one that is ``used`` has its words."""
    description = (__doc__ or "").splitlines()[0]
    top = argparse.ArgumentParser(prog="portchain", description=description)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, entry in COMMANDS.items():
        words = commands.add_parser(name, help=entry.text, description=entry.text)
        words.add_argument("--guest", help=f"one guest; by default all, or {DEFAULT_GUEST} where it is about one")
        words.add_argument("--json", action="store_true", help="print JSON")
        if name == used:
            command = load(name)
            words.set_defaults(run=command.run)
            command.arguments(words)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    used = next((word for word in words if not word.startswith("-")), "")
    options = parser(used).parse_args(words)
    try:
        return int(options.run(options))
    except (CommandError, DaemonError) as error:
        print(f"portchain: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # as in ``portchain trace | head``; what is left to be written goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CUT_SHORT
