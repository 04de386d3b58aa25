"""Guests as they are described."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml

from ..linuxkit import description
from ..linuxkit.images import Images
from ..linuxkit.yaml_source import GuestYamlError, Problem
from .common import Command, allow_any_guest
from .playbooks import PROJECT


def images() -> Images:
    """Return what the project has: its services, and its package sets that are not workloads."""
    roles = PROJECT / "roles"
    definitions = (roles / "guest_image/images").glob("*/image.yml")
    sets = [path.parent.name for path in definitions if "config" not in yaml.safe_load(path.read_text())]
    return Images(roles / "guest_services/services", sets)


def run(options: argparse.Namespace) -> int:
    """Check a guest's YAML, or print the default guest's."""
    if options.action == "default":
        sys.stdout.write(description.default_text(images()))
        return 0
    problems: list[Problem] = []
    unfit: list[Problem] = []
    missing: list[str] = []
    try:
        guest = description.read(options.file, images())
        unfit, missing = guest.unsupported, description.describe_missing_services(guest)
    except GuestYamlError as error:
        problems = error.problems
    if options.json:
        result = {
            "problems": [problem.as_dict() for problem in problems],
            "unfit": [problem.as_dict() for problem in unfit],
            "missing": missing,
        }
        print(json.dumps(result, indent=2))
    else:
        for problem in problems:
            print(f"portchain: {problem}", file=sys.stderr)
        for problem in unfit:
            print(f"portchain: note: {problem}", file=sys.stderr)
        for sentence in missing:
            print(f"portchain: note: {options.file}: {sentence}", file=sys.stderr)
        if not problems:
            verdict = "is LinuxKit's YAML, but cannot boot here: see the notes" if unfit else "can boot"
            print(f"{options.file}: {verdict}")
    return 1 if problems else 0


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``portchain guest``."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    action_parser = actions.add_parser("validate", help="check a guest's YAML before anything is changed")
    action_parser.add_argument("file", type=Path, metavar="FILE", help="the guest, in LinuxKit's YAML")
    actions.add_parser("default", help="print the YAML of the default guest, to begin one's own with")


COMMANDS = (Command("guest", run, arguments, allow_any_guest),)
