"""What commands share: which guests they are for, and how they print."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host import guests
from ..linux import service_manager
from ..linux.printable import printable

DEFAULT_GUEST = "linuxkit"


def no_arguments(_command: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments of its own."""


def allow_any_guest(options: argparse.Namespace) -> None:
    """Check the guest of a command that is about every guest or the one named; raise CommandError."""
    select_guests(options.guest)


def require_one_guest(options: argparse.Namespace) -> None:
    """Set and check the guest of a command that is about one: the one named, or the default."""
    if options.guest is None:
        options.guest = DEFAULT_GUEST
    accessible_guests(options.guest)


@dataclass(frozen=True)
class Command:
    """A command of ``portchain``: ``run`` returns the exit status, and its docstring is the help.

    ``check_guest`` raises CommandError where the named guest does not exist.
    """

    name: str
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    check_guest: Callable[[argparse.Namespace], None] = require_one_guest


class CommandError(Exception):
    """Raised where what was asked for is not so; the message says what to do."""

    status = 1


class UsageError(CommandError):
    """Raised where what was asked for makes no sense."""

    status = 2


def format_size(count: int | None) -> str:
    """Format ``count`` bytes for people: ``83.2 MiB``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def format_duration(seconds: float | None) -> str:
    """Format ``seconds`` for people: ``5s``, ``12m``, ``3h 20m``."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


@dataclass
class Table:
    """Rows of text below ``columns``."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)


def make_table(*columns: str) -> Table:
    """Return a table without rows."""
    return Table(columns)


def print_result(as_json: bool, data: Any, *tables: Table) -> None:
    """Print ``data`` as JSON, or ``tables`` with an empty line between them."""
    if as_json:
        print(json.dumps(data, indent=2))
        return
    print("\n\n".join("\n".join(_lines(table)) for table in tables))


def _lines(table: Table) -> Iterator[str]:
    """Yield a table's lines as docker ps prints them: as wide as needed, whatever the terminal's width."""
    rows = [tuple(map(printable, row)) for row in (table.columns, *table.rows)]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _width(text: str) -> int:
    """Return a text's width in columns of a terminal."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # noqa: PLC0415  # few need it

    return max(int(wcswidth(text)), 0)


def select_guests(guest: str | None, names: list[str] | None = None, side: str = "host") -> list[str]:
    """Return the guest named, or all: of ``names``, or of those defined on this machine; raise CommandError."""
    names = guests.guest_names() if names is None else names
    if guest is None:
        return names
    if guest not in names:
        there_are = f"there are: {', '.join(names)}" if names else "none is defined: make up"
        raise CommandError(f"{side}: no guest {guest!r}; {there_are}")
    return [guest]


def accessible_guests(guest: str | None) -> list[str]:
    """Return those of `select_guests` that this user may access; raise CommandError if there are only others."""
    names = select_guests(guest)
    accessible = [
        name for name in names if os.access(_control_socket(name), os.W_OK) or not _control_socket(name).exists()
    ]
    if names and not accessible:
        owner = _control_socket(names[0]).owner()
        raise CommandError(f"host: guest {names[0]} is {owner}'s alone: run this as {owner}, or with sudo")
    return accessible


def _control_socket(guest: str) -> Path:
    return service_manager.RUN / guest / "control.sock"
