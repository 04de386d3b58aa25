"""The report of a running guest as a page that follows it."""

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

from .common import DEFAULT_GUEST, Command, CommandError, entered


def run(options: argparse.Namespace) -> int:
    """Serve a page on 127.0.0.1 that shows the guest as it is, and starts and stops what is in it."""
    from ..dashboard import live  # noqa: PLC0415
    from ..dashboard.guard import Guard  # noqa: PLC0415

    guest = options.guest or DEFAULT_GUEST
    entered(guest)
    try:
        listener = live.bind(options.port)
    except OSError as error:
        message = f"host: 127.0.0.1:{options.port}: {error.strerror}; choose another with --port, or none"
        raise CommandError(message) from None
    guard = Guard(listener.getsockname()[1])
    print(json.dumps({"guest": guest, "url": guard.url}) if options.json else guard.url, flush=True)
    with ExitStack() as opened:
        if not options.no_open and has_screen():
            webbrowser.open(opened.enter_context(Leader(guard.url)).uri)
        live.run(guest, listener, guard)
    return 0


def has_screen() -> bool:
    """Whether there is one that a browser could be opened on."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


class Leader:
    """A file of the user's alone that leads to ``url``: a browser's command line is for all to see. A context."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = ""

    @property
    def uri(self) -> str:
        """What to open."""
        return Path(self._file).as_uri()

    def __enter__(self) -> Leader:
        with tempfile.NamedTemporaryFile("w", prefix="portchain-", suffix=".html", delete=False) as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(self._url)}">')
            self._file = file.name
        return self

    def __exit__(self, *_raised: object) -> None:
        Path(self._file).unlink(missing_ok=True)


def port(text: str) -> int:
    """A port; ValueError for what is none."""
    if not 0 <= (number := int(text)) <= 65535:
        raise ValueError(text)
    return number


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain dashboard``."""
    command.add_argument("--port", type=port, default=0, metavar="N", help="where to serve it; default: a free port")
    command.add_argument("--no-open", action="store_true", help="open no browser; none is where there is no screen")


COMMANDS = (Command("dashboard", run, arguments),)
