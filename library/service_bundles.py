#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: service_bundles
short_description: Render services as OCI bundles
description:
  - Reads each service's entry, in LinuxKit's own YAML words, from its folder in the catalogue, and makes the folder
    that a guest has as C(/containers), as LinuxKit lays it out.
  - Files that do not belong there are removed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  catalogue:
    description: Folder with one folder a service, each with a C(service.yml) and, as wanted, C(files/).
    type: path
    required: true
  services:
    description: The services that the guest has.
    type: list
    elements: str
    required: true
  images:
    description: Names of the root file systems that entries may name.
    type: list
    elements: str
    required: true
  hostname:
    description: The guest's host name.
    type: str
    default: linuxkit
  dest:
    description: The folder to make.
    type: path
    required: true
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: Lists the files that differ.
    support: full
  idempotent:
    description: Writes only what differs.
    support: full
"""

EXAMPLES = r"""
- name: Render two services
  service_bundles:
    catalogue: roles/guest_services/services
    services: [docker, dns-forwarder]
    images: [docker, services]
    dest: /var/lib/portchain/linuxkit/containers
"""

RETURN = r"""
files:
  description: The files that differed.
  returned: always
  type: list
  elements: str
  sample: ["services/docker/config.json"]
"""

import traceback  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule, missing_required_lib  # noqa: E402
from ansible.module_utils.portchain.guest import catalogue  # noqa: E402
from ansible.module_utils.portchain.guest.service_entry import EntryError  # noqa: E402

try:
    import yaml
except ImportError:
    YAML_ERROR = traceback.format_exc()
else:
    YAML_ERROR = None


def load(folder: Path) -> object:
    """Read a service's entry; raise EntryError where there is none."""
    source = folder / "service.yml"
    if not source.exists():
        raise EntryError(f"service {folder.name}: no {source}")
    return yaml.safe_load(source.read_text())


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "catalogue": {"type": "path", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "images": {"type": "list", "elements": "str", "required": True},
            "hostname": {"type": "str", "default": "linuxkit"},
            "dest": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    if YAML_ERROR:
        module.fail_json(msg=missing_required_lib("PyYAML"), exception=YAML_ERROR)
    folder = Path(module.params["catalogue"])
    dest = Path(module.params["dest"])
    try:
        entries = {name: load(folder / name) for name in module.params["services"]}
        wanted = catalogue.tree(folder, entries, frozenset(module.params["images"]), module.params["hostname"])
    except EntryError as error:
        module.fail_json(msg=str(error))
    present = catalogue.read(dest)
    differing = sorted(name for name in {*present, *wanted} if present.get(name) != wanted.get(name))
    if differing and not module.check_mode:
        catalogue.write(dest, wanted)
    module.exit_json(
        changed=bool(differing),
        files=differing,
        diff={
            "before_header": str(dest),
            "after_header": str(dest),
            "before": "".join(f"{name}\n" for name in differing if name in present),
            "after": "".join(f"{name} (new content)\n" for name in differing if name in wanted),
        },
    )


if __name__ == "__main__":
    main()
