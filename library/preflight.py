#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: preflight
short_description: Check the inventory and the machine before anything is changed
description:
  - Checks the variables of all guests of a machine, and the machine itself.
  - Returns every problem, each with the variable or thing that is wrong and what to do. Changes nothing.
  - Checks for unknown variables, values that C(meta/argument_specs.yml) does not allow, overlapping ids and subnets,
    host ports that are asked for twice or in use, missing images, networks and folders, the kernel, root, loop devices,
    and, if images are still to be built, free space and package mirrors.
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
        description: The guest's name in the inventory.
        type: str
        required: true
      variables:
        description: The guest's variables that begin with the name of a role or with C(portchain_).
        type: dict
        required: true
      undefined:
        description: The variables whose templates fail, each with the reason.
        type: dict
        default: {}
  specs:
    description:
      - The content of each role's C(meta/argument_specs.yml). The last sentence of an option's description may be a
        rule for its value, such as C(Must be a size from 256m to 64t.)
    type: list
    elements: dict
    required: true
  images:
    description: The folder with the definitions of the images.
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
- name: Check the inventory and the machine
  preflight:
    guests:
      - name: linuxkit
        variables: {guest_memory: 2g}
    specs: "{{ query('ansible.builtin.file', 'roles/guest/meta/argument_specs.yml') | map('from_yaml') }}"
    images: roles/guest_image/images
  register: result
  failed_when: result.problems | length > 0
"""

RETURN = r"""
problems:
  description: What would go wrong.
  returned: always
  type: list
  elements: str
  sample: ["guest linuxkit: no variable guest_memroy; did you mean guest_memory?"]
"""

import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule, missing_required_lib  # noqa: E402
from ansible.module_utils.portchain.image.definition import DefinitionError  # noqa: E402
from ansible.module_utils.portchain.preflight.check import check  # noqa: E402
from ansible.module_utils.portchain.preflight.guest_variables import InventoryGuest  # noqa: E402
from ansible.module_utils.portchain.preflight.machine_facts import collect  # noqa: E402
from ansible.module_utils.portchain.preflight.role_variables import read_specs  # noqa: E402

try:
    from ansible.module_utils.portchain.image.folder import load
    from ansible.module_utils.portchain.linuxkit import description
    from ansible.module_utils.portchain.linuxkit.images import Images
    from ansible.module_utils.portchain.linuxkit.yaml_source import GuestYamlError
except ImportError:
    YAML_ERROR: str | None = traceback.format_exc()
else:
    YAML_ERROR = None


def read_images(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the definitions of images by name, and the problems of those that cannot be read."""
    definitions, problems = {}, []
    for file in sorted(folder.glob("*/image.yml")):
        try:
            definitions[file.parent.name] = load(file.parent)
        except (OSError, DefinitionError) as error:
            problems.append(str(error))
    return definitions, problems


def read_guest(entry: dict[str, Any], options: dict[str, Any]) -> tuple[InventoryGuest, list[str]]:
    """Return the guest, and the problems of its variables taken one by one."""
    guest, problems = InventoryGuest.read(entry["name"], entry["variables"], options)
    undefined = [f"{guest}: {name}: {reason}" for name, reason in (entry["undefined"] or {}).items()]
    return guest, undefined + problems


def described_wrongly(guest: InventoryGuest, folder: Path) -> list[str]:
    """Return the problems of the YAML that describes the guest, or of the catalogue that makes up the default guest.

    ``folder`` has the definitions of images.
    """
    path = guest["guest_services_yaml"]
    sets = [name for name in guest["guest_image_names"] or [] if name]
    images = Images(folder.parents[1] / "guest_services/services", sets)
    try:
        described = description.read(Path(path), images) if path else description.read_default(images)
        problems = described.unsupported
    except GuestYamlError as error:
        problems = error.problems
    source = "guest_services_yaml" if path else "the catalogue of services"
    return [f"guest {guest.host}: {source}: {problem}" for problem in problems]


def main() -> None:
    """Run the module."""
    guest = {
        "name": {"type": "str", "required": True},
        "variables": {"type": "dict", "required": True},
        "undefined": {"type": "dict", "default": {}},
    }
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
    options = read_specs(module.params["specs"])
    read = [read_guest(entry, options) for entry in module.params["guests"]]
    guests, problems = [guest for guest, _ in read], [message for _, messages in read for message in messages]
    folder = Path(module.params["images"])
    definitions, odd = read_images(folder)
    caches = [Path(guest["guest_image_cache"] or options["guest_image_cache"].default) for guest in guests]
    to_build = {
        suite
        for guest, cache in zip(guests, caches, strict=True)
        for name in guest["guest_image_names"] or []
        if name in definitions and not (wanted := load(folder / name, guest.suites)).path(cache).exists()
        for suite in wanted.origin.suites
    }
    problems += odd + [problem for guest in guests for problem in described_wrongly(guest, folder)]
    images = {name: bool(definition.config) for name, definition in definitions.items()}
    module.exit_json(problems=problems + check(guests, collect(guests, caches[0], to_build, images)))


if __name__ == "__main__":
    main()
