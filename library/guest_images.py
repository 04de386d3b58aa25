#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest_images
short_description: Build root file systems from Debian packages
description:
  - Builds images with mmdebstrap from the machine's own apt sources and stores each under the hash of its inputs, so
    that an image whose packages, suite and files did not change is not built again.
  - A failed or interrupted build leaves no incomplete image in the cache.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  folder:
    description: A folder with one subfolder per image, of C(image.yml) and, optionally, C(files/) and C(customize).
    type: path
    required: true
  names:
    description: The images to build.
    type: list
    elements: str
    required: true
  cache:
    description: The folder for finished images.
    type: path
    default: /var/cache/portchain/images
  engine:
    description:
      - The engine of the image C(docker), by the Debian release that it comes from. C(debian-forky) is a root of
        Debian 13 with the engine of forky.
    type: str
    choices: [debian-12, debian-13, debian-forky]
    default: debian-12
  suites:
    description: Debian suites for other images, by their names; the machine's own suite by default.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Reports which images would be built.
    support: full
  diff_mode:
    description: Lists the images added to the cache.
    support: full
  idempotent:
    description: Builds only images that the cache lacks.
    support: full
"""

EXAMPLES = r"""
- name: Build the guest's root file system
  guest_images:
    folder: roles/guest_image/images
    names: [guest]
"""

RETURN = r"""
images:
  description: The finished images by name, each with its C(path), C(digest), C(reference), and C(archive).
  returned: always
  type: dict
  sample: {"guest": {"path": "/var/cache/portchain/images/guest-0123456789ab", "digest": "0123456789ab"}}
built:
  description: The images that were built, or would be.
  returned: always
  type: list
  elements: str
"""

import traceback  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule, missing_required_lib  # noqa: E402
from ansible.module_utils.portchain.image.builder import BuildError, build  # noqa: E402
from ansible.module_utils.portchain.image.definition import DefinitionError  # noqa: E402
from ansible.module_utils.portchain.image.suites import DEFAULT_ENGINE, ENGINES, SuiteChoice  # noqa: E402

try:
    from ansible.module_utils.portchain.image.folder import load
except ImportError:
    YAML_ERROR: str | None = traceback.format_exc()
else:
    YAML_ERROR = None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "cache": {"type": "path", "default": "/var/cache/portchain/images"},
            "engine": {"type": "str", "choices": list(ENGINES), "default": DEFAULT_ENGINE},
            "suites": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if YAML_ERROR:
        module.fail_json(msg=missing_required_lib("PyYAML"), exception=YAML_ERROR)
    cache, folder = Path(module.params["cache"]), Path(module.params["folder"])
    choice = SuiteChoice(module.params["engine"], module.params["suites"])
    try:
        wanted = [load(folder / name, choice) for name in module.params["names"]]
        missing = [d for d in wanted if not d.path(cache).exists()]
        if not module.check_mode:
            for definition in missing:
                build(definition, cache)
    except (DefinitionError, BuildError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(missing),
        built=[d.name for d in missing],
        images={
            d.name: {
                "path": str(d.path(cache)),
                "digest": d.digest,
                "reference": d.reference,
                "archive": bool(d.config),
            }
            for d in wanted
        },
        diff={"before": "", "after": "".join(f"{d.path(cache)}\n" for d in missing)},
    )


if __name__ == "__main__":
    main()
