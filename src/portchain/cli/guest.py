"""Guests as they are described."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml

from ..guest import yaml_guest
from ..guest.yaml_images import Images
from ..guest.yaml_source import GuestYamlError, Problem
from .common import Command
from .playbooks import PROJECT


def images() -> Images:
    """What the project has: its services, and its package sets that are no workloads."""
    roles = PROJECT / "roles"
    definitions = (roles / "guest_image/images").glob("*/image.yml")
    sets = [path.parent.name for path in definitions if "config" not in yaml.safe_load(path.read_text())]
    return Images(roles / "guest_services/services", sets)


def run(options: argparse.Namespace) -> int:
    """Say what is wrong with a guest's YAML, with file, line and key."""
    problems: list[Problem] = []
    unfit: list[Problem] = []
    try:
        unfit = yaml_guest.read(options.file, images()).unfit
    except GuestYamlError as error:
        problems = error.problems
    if options.json:
        shown = {"problems": problems, "unfit": unfit}
        print(json.dumps({key: [one.as_dict() for one in found] for key, found in shown.items()}, indent=2))
    else:
        for one in problems:
            print(f"portchain: {one}", file=sys.stderr)
        for one in unfit:
            print(f"portchain: note: {one}", file=sys.stderr)
        if not problems:
            verdict = "is LinuxKit's YAML, but cannot boot here: see the notes" if unfit else "can boot"
            print(f"{options.file}: {verdict}")
    return 1 if problems else 0


def arguments(command: argparse.ArgumentParser) -> None:
    """The words after ``portchain guest``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    words = actions.add_parser("validate", help="check a guest's YAML before anything is changed")
    words.add_argument("file", type=Path, metavar="FILE", help="the guest, in LinuxKit's YAML")


COMMANDS = (Command("guest", run, arguments),)
