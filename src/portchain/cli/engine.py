"""The engine of a guest: its life and its configuration."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .common import DEFAULT_GUEST, Command, CommandError
from .service import Service

_SECONDS = 180.0


def run(options: argparse.Namespace) -> int:
    """Start, stop, restart or configure the engine."""
    found = ask(options)
    if options.json or options.action == "config":
        print(json.dumps(found, indent=2))
    else:
        print(f"{options.guest or DEFAULT_GUEST}: the engine is {found['state']}")
    return 0


def ask(options: argparse.Namespace) -> dict[str, Any]:
    """Have lifecycle-server do it; returns its answer."""
    method, url, body = "POST", f"/engine/{options.action}", None
    if options.action == "config":
        method = "GET"
        if options.file:
            method, body = "PUT", read(options.file)
    with Service(options.guest or DEFAULT_GUEST, "lifecycle-server", _SECONDS).ask(method, url, body) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def read(file: str) -> bytes:
    """What is in ``file``, ``-`` being standard input."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"host: {file}: {error.strerror}") from error


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain engine``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action in ("start", "stop", "restart"):
        actions.add_parser(action, help=f"{action} containerd and dockerd")
    words = actions.add_parser("config", help="print daemon.json: own is yours; or have dockerd take another")
    words.add_argument("file", metavar="FILE", nargs="?", help="your part of daemon.json, - for standard input")


COMMANDS = (Command("engine", run, arguments),)
