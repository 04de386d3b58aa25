"""What the commands share: whom they speak of, and how they print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import daemon
from ..guest import manage

if TYPE_CHECKING:
    from rich.table import Table as RichTable

DEFAULT_GUEST = "linuxkit"


def no_arguments(_command: argparse.ArgumentParser) -> None:
    """Of a command that has no arguments of its own."""


@dataclass(frozen=True)
class Command:
    """A word after ``portchain``: ``run`` returns the exit status, its docstring is the help."""

    name: str
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None] = no_arguments


class CommandError(Exception):
    """What was asked for is not so; the message says what to do."""


def size(count: int | None) -> str:
    """``count`` bytes for people: ``83.2 MiB``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """``seconds`` for people: ``5s``, ``12m``, ``3h 20m``."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


@dataclass
class Table:
    """Rows of text under ``columns``."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """One more."""
        self.rows.append(cells)


def make_table(*columns: str) -> Table:
    """An empty one."""
    return Table(columns)


def show(as_json: bool, data: Any, *tables: Table) -> None:
    """Print ``data`` as JSON or ``tables``, an empty line between them."""
    if as_json:
        print(json.dumps(data, indent=2))
        return
    from rich.console import Console  # noqa: PLC0415  # it takes as long to load as the rest together

    console = Console(width=None if sys.stdout.isatty() else 160)
    for number, table in enumerate(tables):
        console.print(*([""] if number else []), _drawn(table), sep="\n")


def _drawn(table: Table) -> RichTable:
    """Without lines, as docker ps prints."""
    from rich.table import Table as RichTable  # noqa: PLC0415

    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        drawn.add_column(column, no_wrap=True)
    for row in table.rows:
        drawn.add_row(*row)
    return drawn


def chosen(guest: str | None) -> list[str]:
    """The guests to speak of: the one named, or all."""
    names = manage.names()
    if guest and guest not in names:
        known = f"there are: {', '.join(names)}" if names else "none is defined: make up"
        raise CommandError(f"host: no guest {guest!r}; {known}")
    return [guest] if guest else names


def entered(guest: str | None) -> list[str]:
    """Those of `chosen` that this user may enter; raise CommandError where there are only others."""
    names = chosen(guest)
    found = [name for name in names if os.access(_door(name), os.W_OK) or not _door(name).exists()]
    if names and not found:
        owner = _door(names[0]).owner()
        raise CommandError(f"host: guest {names[0]} is {owner}'s alone: run this as {owner}, or with sudo")
    return found


def _door(guest: str) -> Path:
    return daemon.RUN / guest / "control.sock"
