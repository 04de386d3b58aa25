"""Serve the report of a running guest as a live page."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import webbrowser
from contextlib import ExitStack
from html import escape
from pathlib import Path

from .common import Command, CommandError


def run(options: argparse.Namespace) -> int:
    """Serve a page on 127.0.0.1 that shows the guest live, and starts and stops what is in it."""
    from ..dashboard import live  # noqa: PLC0415
    from ..dashboard.guard import Guard  # noqa: PLC0415

    try:
        listener = live.bind(options.port)
    except OSError as error:
        message = f"host: 127.0.0.1:{options.port}: {error.strerror}; choose another with --port, or none"
        raise CommandError(message) from None
    guard = Guard(listener.getsockname()[1])
    print(json.dumps({"guest": options.guest, "url": guard.url}) if options.json else guard.url, flush=True)
    with ExitStack() as opened:
        if not options.no_open and has_display():
            webbrowser.open(opened.enter_context(RedirectFile(guard.url)).uri)
        live.run(options.guest, listener, guard)
    return 0


def has_display() -> bool:
    """Tell whether there is a display that a browser could open on."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


class RedirectFile:
    """A file, readable by the user alone, that redirects to ``url``: command lines are visible to all. A context."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = ""

    @property
    def uri(self) -> str:
        """The file's URI, to be opened."""
        return Path(self._file).as_uri()

    def __enter__(self) -> RedirectFile:
        with tempfile.NamedTemporaryFile("w", prefix="portchain-", suffix=".html", delete=False) as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(self._url)}">')
            self._file = file.name
        return self

    def __exit__(self, *_raised: object) -> None:
        Path(self._file).unlink(missing_ok=True)


def parse_port(text: str) -> int:
    """Parse a port; raise ValueError."""
    if not 0 <= (number := int(text)) <= 65535:
        raise ValueError(text)
    return number


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain dashboard``."""
    command.add_argument(
        "--port", type=parse_port, default=0, metavar="N", help="where to serve it; default: a free port"
    )
    command.add_argument("--no-open", action="store_true", help="open no browser")


COMMANDS = (Command("dashboard", run, arguments),)
