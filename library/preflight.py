#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Find what would go wrong before anything is changed
description:
  - Looks at the variables of all guests of a machine, and at the machine itself.
  - Returns every problem that there is, each naming the variable or the thing and the way out. Changes nothing.
  - Looks for unknown variables, values that cannot be read, overlapping ids and subnets, host ports that are asked for
    twice or held by others, the kernel, root, loop devices, and, where images are still to be built, space and package
    mirrors.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guests:
    description: The guests of the machine.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the guest in the inventory.
        type: str
        required: true
      variables:
        description: Its variables that begin with the name of a role, or with C(portchain_).
        type: dict
        required: true
  specs:
    description: The content of each role's C(meta/argument_specs.yml).
    type: list
    elements: dict
    required: true
  images:
    description: Folder with the definitions of the images.
    type: path
    required: true
attributes:
  check_mode:
    description: Nothing is ever changed.
    support: full
  diff_mode:
    description: There is nothing that could differ.
    support: none
  idempotent:
    description: The same facts give the same answer.
    support: full
"""

EXAMPLES = r"""
- name: Look for what would go wrong
  preflight:
    guests:
      - name: linuxkit
        variables: {guest_memory: 2g}
    specs: "{{ query('ansible.builtin.file', 'roles/guest/meta/argument_specs.yml') | map('from_yaml') }}"
    images: roles/guest_image/images
  register: found
  failed_when: found.problems | length > 0
"""

RETURN = r"""
problems:
  description: What would go wrong.
  returned: always
  type: list
  elements: str
  sample: ["guest linuxkit: no role has a variable guest_memroy; did you mean guest_memory?"]
"""

import traceback  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule, missing_required_lib  # noqa: E402
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # noqa: E402
from ansible.module_utils.errors import UnsupportedError  # noqa: E402
from ansible.module_utils.portchain.image.definition import DefinitionError  # noqa: E402
from ansible.module_utils.portchain.preflight.check import check  # noqa: E402
from ansible.module_utils.portchain.preflight.facts import collect  # noqa: E402
from ansible.module_utils.portchain.preflight.guest import Guest  # noqa: E402

try:
    from ansible.module_utils.portchain.guest import yaml_guest
    from ansible.module_utils.portchain.guest.yaml_images import Images
    from ansible.module_utils.portchain.guest.yaml_source import GuestYamlError
    from ansible.module_utils.portchain.image.folder import load
except ImportError:
    YAML_ERROR = traceback.format_exc()
else:
    YAML_ERROR = None


def to_build(folder: Path, cache: Path, names: list) -> bool:
    """Whether one of the images is not in the cache; one that cannot be read is left to those who build it."""
    try:
        return not all(load(folder / name).path(cache).exists() for name in names)
    except (OSError, DefinitionError):
        return True


def read_guest(entry: dict, options: dict) -> tuple:
    """The guest, and what its roles' argument_specs hold against its variables; those are left out of it."""
    given, misfits = {}, []
    for name, value in entry["variables"].items():
        option = {name: options[name]} if name in options else {name: {"type": "raw"}}
        result = ArgumentSpecValidator(option).validate({name: value})
        for error in result.errors:
            unknown = "unknown key " if isinstance(error, UnsupportedError) else ""
            misfits.append(f"guest {entry['name']}: {name}: {unknown}{error.msg}")
        if not result.error_messages:
            given[name] = result.validated_parameters[name]
    return Guest(entry["name"], given, {name: option.get("default") for name, option in options.items()}), misfits


def described_wrongly(guest: Guest, folder: Path) -> list[str]:
    """What is wrong with the YAML that describes the guest; ``folder`` has the definitions of images."""
    if not guest["guest_yaml"]:
        return []
    images = Images(folder.parents[1] / "guest_services/services", guest["guest_image_names"])
    try:
        problems = yaml_guest.read(Path(guest["guest_yaml"]), images).unfit
    except GuestYamlError as error:
        problems = error.problems
    return [f"guest {guest.host}: guest_yaml: {problem}" for problem in problems]


def main() -> None:
    """Run the module."""
    guest = {"name": {"type": "str", "required": True}, "variables": {"type": "dict", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "guests": {"type": "list", "elements": "dict", "required": True, "options": guest},
            "specs": {"type": "list", "elements": "dict", "required": True},
            "images": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    if YAML_ERROR:
        module.fail_json(msg=missing_required_lib("PyYAML"), exception=YAML_ERROR)
    points = [point for spec in module.params["specs"] for point in spec["argument_specs"].values()]
    options = {name: option for point in points for name, option in (point.get("options") or {}).items()}
    read = [read_guest(entry, options) for entry in module.params["guests"]]
    guests, misfits = [guest for guest, _ in read], [message for _, messages in read for message in messages]
    folder, cache = Path(module.params["images"]), Path(guests[0]["guest_image_cache"])
    missing = any(to_build(folder, Path(g["guest_image_cache"]), g["guest_image_names"]) for g in guests)
    misfits += [problem for guest in guests for problem in described_wrongly(guest, folder)]
    module.exit_json(problems=misfits + check(guests, collect(guests, cache, missing), options))


if __name__ == "__main__":
    main()
