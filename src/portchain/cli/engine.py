"""Control the engine of a guest: its life cycle and its configuration."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..http.blocking_client import Content
from .common import Command, CommandError
from .service import ServiceClient

_SECONDS = 180.0


def run(options: argparse.Namespace) -> int:
    """Start, stop, restart or configure the engine."""
    answer = call_engine(options)
    if options.json or options.action == "config":
        print(json.dumps(answer, indent=2))
    else:
        print(f"{options.guest}: the engine is {answer['state']}")
    return 0


def call_engine(options: argparse.Namespace) -> dict[str, Any]:
    """Have lifecycle-server do it; return its answer."""
    method, url, content = "POST", f"/engine/{options.action}", None
    if options.action == "config":
        method = "GET"
        if options.file is not None:
            method, content = "PUT", Content(read_file(options.file))
    with ServiceClient(options.guest, "lifecycle-server", _SECONDS).ask(method, url, content) as reply:
        answer: dict[str, Any] = reply.json()
    return answer


def read_file(file: str) -> bytes:
    """Read ``file``, where ``-`` is standard input; raise CommandError."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"host: {file or repr(file)}: {error.strerror}") from error


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain engine``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action in ("start", "stop", "restart"):
        actions.add_parser(action, help=f"{action} containerd and dockerd")
    action_parser = actions.add_parser("config", help="print daemon.json, or give dockerd another part of your own")
    action_parser.add_argument("file", metavar="FILE", nargs="?", help="your part of daemon.json, - for standard input")


COMMANDS = (Command("engine", run, arguments),)
