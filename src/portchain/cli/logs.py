"""What the services print."""

from __future__ import annotations

import argparse

from .common import Command
from .shell import in_guest


def run(options: argparse.Namespace) -> int:
    """The services' logs, oldest line first."""
    flags = [f"--{name}" for name in ("follow", "json") if getattr(options, name)]
    if options.tail is not None:
        flags.append(f"--tail={options.tail}")
    return in_guest(options.guest, "log_reader", [*flags, "--", *options.services]).returncode


def count(text: str) -> int:
    """A number of lines; ValueError for what is none."""
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain logs``."""
    command.add_argument("--follow", "-f", action="store_true", help="go on with what is printed from now on")
    command.add_argument("--tail", type=count, metavar="N", help="the last N lines of each log; all by default")
    command.add_argument("services", nargs="*", metavar="SERVICE", help="docker, or docker/dockerd; all by default")


COMMANDS = (Command("logs", run, arguments),)
