"""Development environments: volumes filled from a git repository or a folder."""

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

from .common import DEFAULT_GUEST, Command, CommandError, make_table, show
from .service import Service

_SECONDS = 600.0
_BLOCK = 1 << 18
_IN_THE_GUEST = re.compile(r"(https?|git)://", re.IGNORECASE)
_BY_THE_HOST = re.compile(r"(ssh|file|git\+ssh)://|[^/:]+@[^/:]+:|[^/:]+:(?!//)", re.IGNORECASE)


def run(options: argparse.Namespace) -> int:
    """Make, list or remove development environments: volumes filled from a git repository or a folder."""
    return int(options.action(options))


def service(options: argparse.Namespace) -> Service:
    """What makes them."""
    return Service(options.guest or DEFAULT_GUEST, "devenv-service", _SECONDS)


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All of them, as the service lists them."""
    with service(options).ask("GET", "/environments") as response:
        found: list[dict[str, Any]] = json.load(response)
    return found


def list_them(options: argparse.Namespace) -> int:
    """List the environments."""
    found = rows(options)
    table = make_table("NAME", "STATE", "KIND", "SOURCE", "CREATED", "PROGRESS")
    for row in found:
        table.add_row(*(str(row[key]) for key in ("name", "state", "kind", "source", "created", "progress")))
    show(options.json, found, table)
    return 0


def remove(options: argparse.Namespace) -> int:
    """Remove an environment with all that is in it."""
    with service(options).ask("DELETE", f"/environments/{quote(options.name, safe='')}") as response:
        response.read()
    return 0


def create(options: argparse.Namespace) -> int:
    """Fill a new environment."""
    if any(row["name"] == options.name for row in rows(options)):
        raise CommandError(f"guest: there is an environment {options.name}; portchain devenv rm {options.name}")
    source: str = options.source
    if _IN_THE_GUEST.match(source):
        fill(options, source)
        return 0
    folder = Path(source)
    if folder.is_dir() and not is_bare_repository(folder):
        if options.branch:
            raise CommandError(
                f"host: {source} is taken as it is; --branch is for a repository: file://{folder.resolve()}"
            )
        command = ["tar", "-C", source, "--create", "--file=-", "."]
        with output(command) as archive:
            fill(options, str(folder.resolve()), "application/x-tar", archive)
    elif folder.is_dir() or _BY_THE_HOST.match(source):
        with bundle(str(folder.resolve()) if folder.is_dir() else source) as archive:
            fill(options, source, "application/x-git-bundle", archive)
    else:
        raise CommandError(f"host: {source}: no such folder, and no URL")
    return 0


def is_bare_repository(folder: Path) -> bool:
    """Whether ``folder`` is a git repository without files of its own."""
    return all((folder / name).exists() for name in ("HEAD", "objects", "refs"))


def fill(options: argparse.Namespace, source: str, kind: str = "", body: Iterator[bytes] | None = None) -> None:
    """Ask the service for it and tell the progress on stderr; raise CommandError where it fails."""
    query = urlencode({"source": source, "branch": options.branch or ""})
    url = f"/environments/{quote(options.name, safe='')}?{query}"
    headers = {"Content-Type": kind} if kind else {}
    last: dict[str, str] = {}
    with service(options).ask("PUT", url, body, headers) as response:
        for line in response:
            last, before = json.loads(line), last
            if "progress" in last and last != before:
                tell(last["progress"])
    if "message" in last:
        raise CommandError(last["message"])
    if "ready" not in last:
        raise CommandError(f"guest: devenv-service ended while it filled {options.name}; portchain logs devenv-service")
    print(json.dumps(last) if options.json else options.name)


def tell(progress: str) -> None:
    """A line of progress."""
    print(progress, file=sys.stderr, flush=True)


@contextmanager
def bundle(source: str) -> Iterator[Iterator[bytes]]:
    """All of the repository ``source`` as git's bundle, fetched by the host's git with the user's own keys."""
    with tempfile.TemporaryDirectory(prefix="portchain-") as folder:
        tell(f"host: git fetches {source}")
        clone = ["git", "clone", "--quiet", "--mirror", "--", source, folder]
        try:
            done = subprocess.run(clone, stderr=subprocess.PIPE, text=True, check=False)
        except FileNotFoundError:
            raise CommandError("host: no git; install the package git") from None
        if done.returncode:
            raise CommandError(f"host: {done.stderr.strip()}")
        with output(["git", "-C", folder, "bundle", "create", "--quiet", "-", "--all"]) as archive:
            yield archive


@contextmanager
def output(command: list[str]) -> Iterator[Iterator[bytes]]:
    """What ``command`` prints. When it fails, its reader is left by a CommandError before the end."""
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout

        def pieces() -> Iterator[bytes]:
            assert process.stdout
            while piece := process.stdout.read(_BLOCK):
                yield piece
            if process.wait() > (command[0] == "tar"):  # tar ends with 1 where a file changed while it was read
                said.seek(0)
                raise CommandError(f"host: {said.read(4096).decode(errors='replace').strip()}")

        try:
            yield pieces()
        finally:
            process.kill()


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain devenv``."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    words = actions.add_parser("create", help="fill a new one")
    words.add_argument("name", metavar="NAME", help="its name, and its volume's")
    words.add_argument(
        "source", metavar="SOURCE", help="a repository's URL, or a folder or bare repository of the host"
    )
    words.add_argument("--branch", help="the branch or tag to check out; default: the repository's own")
    words.set_defaults(action=create)
    actions.add_parser("ls", help="list them").set_defaults(action=list_them)
    words = actions.add_parser("rm", help="remove one with all that is in it")
    words.add_argument("name", metavar="NAME")
    words.set_defaults(action=remove)


COMMANDS = (Command("devenv", run, arguments),)
