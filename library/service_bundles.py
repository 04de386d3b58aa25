#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: service_bundles
short_description: Render a guest's YAML as OCI bundles
description:
  - Reads a guest in LinuxKit's YAML and creates the folder that the guest sees as C(/containers), in LinuxKit's layout.
    Images on disk that the YAML names are unpacked into the cache.
  - Other files in that folder are removed.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  yaml:
    description: The guest, in LinuxKit's YAML. Without it the guest has every service of the catalogue.
    type: path
  catalogue:
    description: A folder with one subfolder per service, of C(service.yml) and, optionally, C(files/).
    type: path
    required: true
  sets:
    description: Root file systems built from Debian packages, by name; archives among them are ignored.
    type: dict
    required: true
  cache:
    description: Where images are unpacked.
    type: path
    default: /var/cache/portchain/images
  hostname:
    description: The guest's host name.
    type: str
    required: true
  dest:
    description: The folder to create.
    type: path
    required: true
attributes:
  check_mode:
    description: Reports the files that would change.
    support: full
  diff_mode:
    description: Lists the files that differ.
    support: full
  idempotent:
    description: Writes only what differs.
    support: full
"""

EXAMPLES = r"""
- name: Render a guest's services
  service_bundles:
    yaml: inventory/guest.yml
    hostname: linuxkit
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
  description: The root file systems of the guest's containers, by their names below C(/containers/images).
  returned: always
  type: dict
  sample: {"services": "/var/cache/portchain/images/services-0123456789ab"}
"""

import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule, missing_required_lib  # noqa: E402

try:
    import yaml  # noqa: F401
    from ansible.module_utils.portchain.linux import control_groups
    from ansible.module_utils.portchain.linuxkit import catalogue, description, layers
    from ansible.module_utils.portchain.linuxkit.images import Images
    from ansible.module_utils.portchain.linuxkit.stored_image import StoredImageError
    from ansible.module_utils.portchain.linuxkit.yaml_source import GuestYamlError
except ImportError:
    YAML_ERROR: str | None = traceback.format_exc()
else:
    YAML_ERROR = None


def load(params: dict[str, Any]) -> description.GuestYaml:
    """Read the guest from the module's parameters; raise GuestYamlError if this project cannot run it."""
    sets = [name for name, path in params["sets"].items() if not path.endswith(".tar")]
    images = Images(Path(params["catalogue"]), sets)
    guest = description.read(Path(params["yaml"]), images) if params["yaml"] else description.read_default(images)
    if guest.unsupported:
        raise GuestYamlError(guest.unsupported)
    return guest


def unpack_images(
    guest: description.GuestYaml, params: dict[str, Any], check_mode: bool
) -> tuple[dict[str, str], bool]:
    """Return the images by name, and whether one on disk was unpacked."""
    cache, unpacked = Path(params["cache"]), False
    paths = {}
    for key, image in guest.images.items():
        paths[key] = str(cache / key) if image.stored else params["sets"][key]
        if image.stored and not (cache / key).exists():
            unpacked = check_mode or layers.unpack(image.stored, cache)
    return paths, unpacked


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "yaml": {"type": "path"},
            "catalogue": {"type": "path", "required": True},
            "sets": {"type": "dict", "required": True},
            "cache": {"type": "path", "default": "/var/cache/portchain/images"},
            "hostname": {"type": "str", "required": True},
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
    wanted = catalogue.build_tree(
        guest, module.params["hostname"], control_groups.can_limit_memory(control_groups.own_hierarchies())
    )
    present = catalogue.read_tree(dest)
    differing = sorted(name for name in {*present, *wanted} if present.get(name) != wanted.get(name))
    if differing and not module.check_mode:
        catalogue.write_tree(dest, wanted)
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
