#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: container_files
short_description: Bring a folder of small files out of a container
description:
  - Copies the files right in a folder of a container to a folder on the host, as C(docker cp) does, readable by their
    owner alone. Files on the host that the container does not have are left alone.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  socket:
    description: The engine's socket.
    type: path
    required: true
  container:
    description: Name of the container.
    type: str
    required: true
  path:
    description: The folder in the container.
    type: path
    required: true
  dest:
    description: The folder on the host; it is made if it is not there.
    type: path
    required: true
  owner:
    description: The user the folder and its files belong to.
    type: str
    required: true
attributes:
  check_mode:
    description: Says which files would be written; all that the container has, for a container that is not there yet.
    support: full
  diff_mode:
    description: Lists the files by name; what is in them is not shown.
    support: full
  idempotent:
    description: Writes what differs.
    support: full
"""

EXAMPLES = r"""
- name: Bring the client's keys to the host
  container_files:
    socket: /run/portchain/linuxkit/docker.sock
    container: minikube
    path: /var/lib/minikube/client
    dest: /var/lib/portchain/linuxkit/minikube
    owner: root
"""

RETURN = r"""
written:
  description: The files that were written, or would be.
  returned: success
  type: list
  elements: str
  sample: [ca.pem, cert.pem, key.pem]
"""

import io  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import tarfile  # noqa: E402
from pathlib import Path, PurePosixPath  # noqa: E402
from urllib.parse import urlencode  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.portchain.unix_http import request  # noqa: E402


def container_files(socket: str, container: str, path: str) -> dict[str, bytes] | None:
    """Read the files right in the container's folder, by name; None if there is no such container or folder."""
    url = f"/containers/{container}/archive?{urlencode({'path': path})}"
    status, body = request(socket, "GET", url, timeout=30)
    if status == 404:
        return None
    if status != 200:
        raise OSError(f"{socket}: {status} {body[:200].decode(errors='replace')}")
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        entries = [entry for entry in archive if entry.isreg() and len(PurePosixPath(entry.name).parts) == 2]
        return {PurePosixPath(entry.name).name: archive.extractfile(entry).read() for entry in entries}


def differs(file: Path, content: bytes, owner: str) -> bool:
    """Say whether the file is other than wanted in content, owner or mode."""
    if not file.exists():
        return True
    wrong_access = file.owner() != owner or file.stat().st_mode & 0o777 != 0o600
    return wrong_access or file.read_bytes() != content


def write(file: Path, content: bytes, owner: str) -> None:
    """Replace the file as a whole; nobody else can read it at any time."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        output.write(content)
    shutil.chown(partial, owner)
    partial.replace(file)


def make_folder(folder: Path, owner: str) -> None:
    """Make the folder, open to its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.chown(folder, owner)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "container": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "owner": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    dest, owner = Path(given["dest"]), given["owner"]
    source = f"guest: {given['path']} in container {given['container']}"
    try:
        files = container_files(given["socket"], given["container"], given["path"])
        if files is None and not module.check_mode:
            module.fail_json(msg=f"{source} does not exist; see docker logs {given['container']}")
        new = [name for name, content in (files or {}).items() if differs(dest / name, content, owner)]
        if new and not module.check_mode:
            make_folder(dest, owner)
            for name in new:
                write(dest / name, files[name], owner)
    except (OSError, LookupError, tarfile.TarError) as error:
        module.fail_json(msg=f"{source} cannot be brought to {dest}: {error}")
    module.exit_json(
        changed=bool(new) or files is None,
        written=new,
        diff={"before": "", "after": "".join(f"{dest / name}\n" for name in new)},
    )


if __name__ == "__main__":
    main()
