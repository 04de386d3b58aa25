#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_context
short_description: Create or remove a docker context for a guest
description:
  - Creates a context, so that C(docker --context NAME) and C(docker context use NAME) lead a user to a guest's
    C(docker.sock).
  - Writes the same files as C(docker context create). The docker command need not be installed.
  - A context of that name that does not belong to this guest is left alone, with a warning.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  guest:
    description: The guest's name on its machine.
    type: str
    required: true
  name:
    description: The context's name. The guest's contexts of other names are removed. Empty for no context.
    type: str
    default: ""
  owner:
    description: The user whose C(~/.docker) has the context. Files there are accessed with this user's rights only.
    type: str
    default: root
  state:
    description: Whether the context exists.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Reports whether a context would be written or removed.
    support: full
  diff_mode:
    description: Shows the guest's contexts, before and after.
    support: full
  idempotent:
    description: Leaves a context alone that already is as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Create the docker context portchain
  docker_context:
    guest: linuxkit
    name: portchain
    owner: user
"""

RETURN = r"""
contexts:
  description: The guest's contexts after the task, in the format of C(docker context inspect).
  returned: success
  type: list
  elements: dict
  sample:
    - {"Name": "portchain", "Metadata": {"Description": "the portchain guest linuxkit", "portchain": "linuxkit"},
       "Endpoints": {"docker": {"Host": "unix:///run/portchain/linuxkit/docker.sock", "SkipTLSVerify": false}}}
"""

import json  # noqa: E402
import pwd  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.host.docker_context import (  # noqa: E402
    DockerContexts,
    NotOursError,
    acting_as,
    check_name,
    context_metadata,
)
from ansible.module_utils.portchain.linux.service_manager import RUN  # noqa: E402


def text(contexts: dict[str, Any]) -> str:
    """Format the contexts for people."""
    return "".join(f"{json.dumps(one, indent=2)}\n" for one in contexts.values())


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "guest": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "owner": {"type": "str", "default": "root"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    guest, name = module.params["guest"], module.params["name"]
    wanted = {}
    if name and module.params["state"] == "present":
        wanted[name] = context_metadata(name, guest, RUN / guest / "docker.sock")
    try:
        check_name(name)
        owner = pwd.getpwnam(module.params["owner"])
        home = Path(owner.pw_dir)
        contexts = DockerContexts(home / ".docker", guest)
        with acting_as(owner):
            try:
                if wanted and not home.is_dir():
                    raise NotOursError(f"host: {owner.pw_name} has no home {home}, and so no context {name}")
                contexts.check(name)
            except NotOursError as error:
                module.warn(str(error))
                wanted = {}
            before = contexts.ours()
            if before != wanted and not module.check_mode:
                contexts.put(wanted)
            after = contexts.ours()
    except KeyError:
        module.fail_json(msg=f"host: no user {module.params['owner']!r}, whose docker context is to be kept")
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"host: the docker context of {owner.pw_name} cannot be kept: {error}")
    module.exit_json(
        changed=before != wanted,
        contexts=list(after.values()),
        diff={"before": text(before), "after": text(wanted)},
    )


if __name__ == "__main__":
    main()
