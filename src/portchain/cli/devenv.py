"""Manage development environments: volumes filled from a git repository or a folder."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ..http.blocking_client import Content
from .common import Command, CommandError, make_table, print_result
from .service import ServiceClient

_SECONDS = 600.0
_BLOCK = 1 << 18
_IN_THE_GUEST = re.compile(r"(https?|git)://", re.IGNORECASE)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}")
_BY_THE_HOST = re.compile(r"(ssh|file|git\+ssh)://|[^/:]+@[^/:]+:|[^/:]+:(?!//)", re.IGNORECASE)


def run(options: argparse.Namespace) -> int:
    """Make, list or remove development environments: volumes filled from a git repository or a folder."""
    return int(options.action(options))


def environment_service(options: argparse.Namespace) -> ServiceClient:
    """Return the client of the service that makes them."""
    return ServiceClient(options.guest, "devenv-service", _SECONDS)


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return all environments, as the service lists them."""
    with environment_service(options).ask("GET", "/environments") as reply:
        environments: list[dict[str, Any]] = reply.json()
    return environments


def list_environments(options: argparse.Namespace) -> int:
    """List the environments."""
    environments = rows(options)
    table = make_table("NAME", "STATE", "KIND", "SOURCE", "CREATED", "PROGRESS")
    for row in environments:
        table.add_row(*(str(row[key]) for key in ("name", "state", "kind", "source", "created", "progress")))
    print_result(options.json, environments, table)
    return 0


def remove(options: argparse.Namespace) -> int:
    """Remove an environment and its volume."""
    with environment_service(options).ask("DELETE", f"/environments/{quote(options.name, safe='')}") as reply:
        reply.read()
    return 0


def create(options: argparse.Namespace) -> int:
    """Create an environment and fill it."""
    if any(row["name"] == options.name for row in rows(options)):
        raise CommandError(f"guest: there is an environment {options.name}; portchain devenv rm {options.name}")
    source: str = options.source
    if _IN_THE_GUEST.match(source):
        fill(options, source)
        return 0
    folder = Path(source)
    if source and folder.is_dir() and not is_bare_repository(folder):
        if options.branch:
            raise CommandError(
                f"host: {source} is taken as it is; --branch is for a repository: file://{folder.resolve()}"
            )
        command = ["tar", "-C", source, "--create", "--file=-", "."]
        with run_output(command) as archive:
            fill(options, str(folder.resolve()), Content(archive, "application/x-tar"))
    elif (source and folder.is_dir()) or _BY_THE_HOST.match(source):
        with bundle(str(folder.resolve()) if folder.is_dir() else source) as archive:
            fill(options, source, Content(archive, "application/x-git-bundle"))
    else:
        raise CommandError(f"host: {source or repr(source)}: no such folder, and no URL")
    return 0


def is_bare_repository(folder: Path) -> bool:
    """Tell whether ``folder`` is a git repository without a working tree."""
    return all((folder / name).exists() for name in ("HEAD", "objects", "refs"))


def fill(options: argparse.Namespace, source: str, content: Content | None = None) -> None:
    """Have the service fill an environment, and print its progress on stderr; raise CommandError."""
    query = urlencode({"source": source, "branch": options.branch or ""})
    url = f"/environments/{quote(options.name, safe='')}?{query}"
    status: dict[str, str] = {}
    with environment_service(options).ask("PUT", url, content) as reply:
        for line in reply.lines():
            status, previous = json.loads(line), status
            if "progress" in status and status != previous:
                print_progress(status["progress"])
    if "message" in status:
        raise CommandError(status["message"])
    if "ready" not in status:
        raise CommandError(f"guest: devenv-service ended while it filled {options.name}; portchain logs devenv-service")
    print(json.dumps(status) if options.json else options.name)


def print_progress(progress: str) -> None:
    """Print a line of progress on stderr."""
    print(progress, file=sys.stderr, flush=True)


@contextmanager
def bundle(source: str) -> Iterator[Iterator[bytes]]:
    """Yield the whole repository ``source`` as a git bundle, fetched by the host's git with the user's keys."""
    with tempfile.TemporaryDirectory(prefix="portchain-") as folder:
        print_progress(f"host: git fetches {source}")
        clone = ["git", "clone", "--quiet", "--mirror", "--", source, folder]
        try:
            done = subprocess.run(clone, stderr=subprocess.PIPE, text=True, check=False)
        except FileNotFoundError:
            raise CommandError("host: no git; install the package git") from None
        if done.returncode:
            raise CommandError(f"host: {done.stderr.strip()}")
        with run_output(["git", "-C", folder, "bundle", "create", "--quiet", "-", "--all"]) as archive:
            yield archive


@contextmanager
def run_output(command: list[str]) -> Iterator[Iterator[bytes]]:
    """Yield what ``command`` prints; where it fails, reading ends with a CommandError."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout

        def pieces() -> Iterator[bytes]:
            assert process.stdout
            while piece := process.stdout.read(_BLOCK):
                yield piece
            if process.wait() > (command[0] == "tar"):  # tar ends with 1 where a file changed while it was read
                errors.seek(0)
                raise CommandError(f"host: {errors.read(4096).decode(errors='replace').strip()}")

        try:
            yield pieces()
        finally:
            process.kill()


def parse_name(text: str) -> str:
    """Check an environment's name, which is its volume's; raise argparse.ArgumentTypeError."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: 2 to 64 letters, digits, _ . and -, no sign first")
    return text


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain devenv``."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    action_parser = actions.add_parser("create", help="make an environment and fill it")
    action_parser.add_argument("name", metavar="NAME", type=parse_name, help="its name, and its volume's")
    action_parser.add_argument(
        "source", metavar="SOURCE", help="a repository's URL, or a folder or bare repository of the host"
    )
    action_parser.add_argument("--branch", help="the branch or tag to check out; default: the repository's own")
    action_parser.set_defaults(action=create)
    actions.add_parser("ls", help="list the environments").set_defaults(action=list_environments)
    action_parser = actions.add_parser("rm", help="remove an environment and its volume")
    action_parser.add_argument("name", metavar="NAME", type=parse_name)
    action_parser.set_defaults(action=remove)


COMMANDS = (Command("devenv", run, arguments),)
