#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: service_bundles
short_description: Render a guest's YAML as OCI bundles
description:
  - Reads a guest as LinuxKit describes it, and makes the folder that the guest has as C(/containers), as LinuxKit lays
    it out. Images on disk that it names are unpacked into the cache.
  - Files that do not belong there are removed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  yaml:
    description: The guest, in LinuxKit's YAML.
    type: path
    required: true
  catalogue:
    description: Folder with one folder a service, each with a C(service.yml) and, as wanted, C(files/).
    type: path
    required: true
  sets:
    description: Root file systems of Debian packages by their names; archives among them are left out.
    type: dict
    required: true
  cache:
    description: Where images are unpacked.
    type: path
    default: /var/cache/portchain/images
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
- name: Render a guest
  service_bundles:
    yaml: inventory/guest.yml
    catalogue: roles/guest_services/services
    sets:
      docker: /var/cache/portchain/images/docker-0123456789ab
      services: /var/cache/portchain/images/services-0123456789ab
    dest: /var/lib/portchain/linuxkit/containers
"""

RETURN = r"""
files:
  description: The files that differed.
  returned: always
  type: list
  elements: str
  sample: ["services/docker/config.json"]
images:
  description: The root file systems that the guest's containers have, by their names below C(/containers/images).
  returned: always
  type: dict
  sample: {"services": "/var/cache/portchain/images/services-0123456789ab"}
"""

import traceback  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule, missing_required_lib  # noqa: E402

try:
    import yaml  # noqa: F401
    from ansible.module_utils.portchain.guest import catalogue, cgroups, yaml_guest
    from ansible.module_utils.portchain.guest.yaml_images import Images
    from ansible.module_utils.portchain.guest.yaml_source import GuestYamlError
    from ansible.module_utils.portchain.image import unpack
    from ansible.module_utils.portchain.image.stored import StoredImageError
except ImportError:
    YAML_ERROR = traceback.format_exc()
else:
    YAML_ERROR = None


def load(params: dict) -> yaml_guest.GuestYaml:
    """The guest that the module's parameters ask for; raises GuestYamlError where this guest cannot be it."""
    sets = [name for name, path in params["sets"].items() if not path.endswith(".tar")]
    guest = yaml_guest.read(Path(params["yaml"]), Images(Path(params["catalogue"]), sets))
    if guest.unfit:
        raise GuestYamlError(guest.unfit)
    return guest


def unpack_images(guest: yaml_guest.GuestYaml, params: dict, check_mode: bool) -> tuple[dict[str, str], bool]:
    """The images by name, those on disk unpacked; and whether one was."""
    cache, unpacked = Path(params["cache"]), False
    paths = {}
    for key, image in guest.images.items():
        paths[key] = str(cache / key) if image.stored else params["sets"][key]
        if image.stored and not (cache / key).exists():
            unpacked = check_mode or unpack.into_cache(image.stored, cache)
    return paths, unpacked


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "yaml": {"type": "path", "required": True},
            "catalogue": {"type": "path", "required": True},
            "sets": {"type": "dict", "required": True},
            "cache": {"type": "path", "default": "/var/cache/portchain/images"},
            "hostname": {"type": "str", "default": "linuxkit"},
            "dest": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    if YAML_ERROR:
        module.fail_json(msg=missing_required_lib("PyYAML"), exception=YAML_ERROR)
    dest = Path(module.params["dest"])
    try:
        guest = load(module.params)
        images, unpacked = unpack_images(guest, module.params, module.check_mode)
    except (GuestYamlError, StoredImageError) as error:
        module.fail_json(msg=str(error))
    wanted = catalogue.tree(guest, module.params["hostname"], cgroups.limit_memory(cgroups.own_hierarchies()))
    present = catalogue.read(dest)
    differing = sorted(name for name in {*present, *wanted} if present.get(name) != wanted.get(name))
    if differing and not module.check_mode:
        catalogue.write(dest, wanted)
    module.exit_json(
        changed=bool(differing) or unpacked,
        files=differing,
        images=images,
        diff={
            "before_header": str(dest),
            "after_header": str(dest),
            "before": "".join(f"{name}\n" for name in differing if name in present),
            "after": "".join(f"{name} (new content)\n" for name in differing if name in wanted),
        },
    )


if __name__ == "__main__":
    main()
