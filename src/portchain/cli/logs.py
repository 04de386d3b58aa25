"""Print the logs of services."""

from __future__ import annotations

import argparse

from . import standard_streams
from .common import Command
from .shell import guest_module_command, ssh_command


def run(options: argparse.Namespace) -> int:
    """Print the services' logs, oldest line first."""
    flags = [f"--{name}" for name in ("follow", "json") if getattr(options, name)]
    if options.tail is not None:
        flags.append(f"--tail={options.tail}")
    return standard_streams.run(
        ssh_command(options.guest, guest_module_command("logs.reader", *flags, "--", *options.services))
    )


def count(text: str) -> int:
    """Parse a number of lines; raise ValueError."""
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain logs``."""
    command.add_argument("--follow", "-f", action="store_true", help="go on with what is printed from now on")
    command.add_argument("--tail", type=count, metavar="N", help="the last N lines of each log; all by default")
    command.add_argument("services", nargs="*", metavar="SERVICE", help="docker, or docker/dockerd; all by default")


COMMANDS = (Command("logs", run, arguments),)
