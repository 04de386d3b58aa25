"""The command portchain: how the guests are, which ports lead into them, and the ways in, up and down.

Exit status: 0 fine, 1 what was asked about is not so, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import daemon, unix_http
from .forwarder.declare import DeclareError, expose, unexpose
from .guest import manage
from .mapping.forward import PROTOCOLS, PROXY_PROTOCOLS, Endpoint, Forward

DEFAULT_GUEST = "linuxkit"
_PROJECT = Path(__file__).parents[2]
_CONTROL_DEADLINE = 5.0


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


def show(as_json: bool, data: Any, table: Table) -> None:
    """Print ``data`` as JSON or ``table``."""
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def make_table(*columns: str) -> Table:
    """A table without lines, as docker ps prints."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def chosen(guest: str | None) -> list[str]:
    """The guests to speak of: the one named, or all."""
    names = manage.names()
    if guest and guest not in names:
        known = f"there are: {', '.join(names)}" if names else "none is defined: make up"
        raise CommandError(f"host: no guest {guest!r}; {known}")
    return [guest] if guest else names


def command_status(options: argparse.Namespace) -> int:
    """How the guests are."""
    found = [manage.status(name) for name in chosen(options.guest)]
    table = make_table("GUEST", "STATE", "DRIVER", "PID", "UPTIME", "MEMORY")
    for one in found:
        table.add_row(
            one.name,
            one.state,
            one.driver or "-",
            str(one.pid or "-"),
            duration(one.uptime),
            size(one.memory),
        )
    show(options.json, [one.as_dict() for one in found], table)
    return 0 if found and all(one.state == "running" for one in found) else 1


def forwards(guest: str) -> list[dict[str, Any]]:
    """The forwards of ``guest``, as its forwarder lists them."""
    try:
        found = unix_http.get_json(str(daemon.RUN / guest / "control.sock"), "/forwards", _CONTROL_DEADLINE)
    except (OSError, ValueError) as error:
        raise CommandError(f"host: no answer from the forwarder of guest {guest}: {error}; portchain up") from error
    return [{"guest": guest, **forward} for forward in found]


def shown(forward: dict[str, Any]) -> tuple[str, str]:
    """Its two ends; udp is written out."""
    prefix = "udp:" if forward["protocol"] == "udp" else ""
    return f"{prefix}{forward['listen']}", f"{prefix}{forward['target']}"


def command_ps(options: argparse.Namespace) -> int:
    """The forwards."""
    found = [forward for name in chosen(options.guest) for forward in forwards(name)]
    if not options.all:
        found = [one for one in found if one["origin"] != "system"]
    table = make_table("GUEST", "LISTEN", "TARGET", "OWNER", "STATE", "CONNECTIONS", "RECEIVED", "SENT")
    for one in found:
        table.add_row(
            *(one["guest"], *shown(one), one["owner"], one["state"], str(one["connections"])),
            *(size(one["received"]), size(one["sent"])),
        )
    show(options.json, found, table)
    for one in found:
        if one["state"] == "failed":
            print(f"portchain: guest {one['guest']}: {one['error']}", file=sys.stderr)
    return 0


def command_forward(options: argparse.Namespace) -> int:
    """Add or remove a forward by hand."""
    guest = options.guest or DEFAULT_GUEST
    control = daemon.RUN / guest / "control.sock"
    try:
        if options.action == "add":
            ends = options.listen, options.target
            expose(control, Forward.parse(*ends, options.protocol, options.proxy_protocol))
        else:
            unexpose(control, Endpoint.parse(options.listen, options.protocol))
    except ValueError as error:
        print(f"portchain: {error}", file=sys.stderr)
        return 2
    except DeclareError as error:
        raise CommandError(str(error)) from error
    if options.json:
        print(json.dumps([one for one in forwards(guest) if one["origin"] == "manual"], indent=2))
    return 0


def command_shell(options: argparse.Namespace) -> int:
    """A root shell in the guest, or one command there."""
    guest = options.guest or DEFAULT_GUEST
    if manage.status(guest).state != "running":
        raise CommandError(f"guest {guest}: {manage.status(guest).state}; portchain up --guest {guest}")
    ssh = ["ssh", "-F", str(daemon.RUN / guest / "ssh_config"), guest, *options.command]
    if not options.json:
        return subprocess.run(ssh, check=False).returncode
    if not options.command:
        raise CommandError("host: shell --json needs a command to run")
    done = subprocess.run(ssh, check=False, capture_output=True, text=True)
    print(
        json.dumps(
            {"guest": guest, "status": done.returncode, "stdout": done.stdout, "stderr": done.stderr},
            indent=2,
        )
    )
    return done.returncode


def play(playbook: str, options: argparse.Namespace) -> int:
    """Run a playbook of the project, for one guest or all; its output is kept off stdout under --json."""
    path = _PROJECT / playbook
    if not path.exists():
        raise CommandError(f"host: no {path}; run this portchain from a checkout's .venv")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook]
    if options.guest:
        command += ["--limit", options.guest]
    if os.geteuid() and subprocess.run(["sudo", "-kn", "true"], capture_output=True, check=False).returncode:
        command.append("--ask-become-pass")
    done = subprocess.run(command, cwd=_PROJECT, check=False, stdout=sys.stderr if options.json else None)
    if options.json:
        print(json.dumps([manage.status(name).as_dict() for name in manage.names()], indent=2))
    return 1 if done.returncode else 0


def command_up(options: argparse.Namespace) -> int:
    """Run site.yml."""
    return play("site.yml", options)


def command_down(options: argparse.Namespace) -> int:
    """Run the teardown."""
    return play("playbooks/teardown.yml", options)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "status": command_status,
    "ps": command_ps,
    "forward": command_forward,
    "shell": command_shell,
    "up": command_up,
    "down": command_down,
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    description = (__doc__ or "").splitlines()[0]
    top = argparse.ArgumentParser(prog="portchain", description=description)
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        text = (function.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--guest", help=f"one guest; all by default, forward and shell: {DEFAULT_GUEST}")
        command.add_argument("--json", action="store_true", help="print JSON")
        if name == "shell":
            command.add_argument("command", nargs=argparse.REMAINDER, help="what to run instead of a shell")
        if name == "ps":
            command.add_argument("--all", "-a", action="store_true", help="the guest's own sockets as well")
        if name == "forward":
            add_forward_actions(command)
    return top


def add_forward_actions(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain forward``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action in ("add", "remove"):
        words = actions.add_parser(action, help=f"{action} a forward")
        words.add_argument("listen", metavar="LISTEN", help="the host's end: :8081, 127.0.0.1:8081, unix:/…")
        words.add_argument("--protocol", choices=PROTOCOLS, default="tcp", help="of what names none; default: tcp")
        if action == "add":
            words.add_argument("target", metavar="TARGET", help="the guest's end: 127.0.0.1:8080, unix:/…")
            words.add_argument(
                "--proxy-protocol",
                choices=[version for version in PROXY_PROTOCOLS if version],
                default="",
                help="tell the target of each client by a header of the PROXY protocol",
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = parser().parse_args(arguments)
    if getattr(options, "command", None) and options.command[0] == "--":
        options.command = options.command[1:]
    try:
        return COMMANDS[options.name](options)
    except (CommandError, daemon.DaemonError) as error:
        print(f"portchain: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
