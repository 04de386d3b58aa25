#!/usr/bin/python
"""Ansible module: see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: container_files
short_description: Copy a folder of small files out of a container
description:
  - Copies the files of a folder in a container, without its subfolders, to a folder on the host, as C(docker cp) does.
    Only the owner can read them. Files on the host that the container lacks are left alone.
version_added: "0.1.0"
author: portchain developers (@portchain)
options:
  socket:
    description: The engine's socket.
    type: path
    required: true
  container:
    description: The container's name.
    type: str
    required: true
  path:
    description: The folder in the container.
    type: path
    required: true
  dest:
    description: The folder on the host; it is created if it does not exist.
    type: path
    required: true
  owner:
    description: The user who owns the folder and its files.
    type: str
    required: true
attributes:
  check_mode:
    description: Reports the files that would be written, and a change where the container does not exist yet.
    support: full
  diff_mode:
    description: Lists the files by name; their content is not shown.
    support: full
  idempotent:
    description: Writes only files that differ.
    support: full
"""

EXAMPLES = r"""
- name: Copy the client's keys to the host
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
from ansible.module_utils.portchain.http.blocking_client import request  # noqa: E402


def container_files(socket: str, container: str, path: str) -> dict[str, bytes] | None:
    """Read the files of the container's folder by name; None if there is no such container or folder."""
    url = f"/containers/{container}/archive?{urlencode({'path': path})}"
    status, body = request(socket, "GET", url, timeout=30)
    if status == 404:
        return None
    if status != 200:
        raise OSError(f"{socket}: {status} {body[:200].decode(errors='replace')}")
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        regular = (entry for entry in archive if entry.isreg() and not entry.issparse())
        entries = [entry for entry in regular if len(PurePosixPath(entry.name).parts) == 2]
        return {PurePosixPath(entry.name).name: content(archive, entry) for entry in entries}


def content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    """Return the content of a regular file in an archive."""
    file = archive.extractfile(entry)
    return file.read() if file else b""


def differs(file: Path, content: bytes, owner: str) -> bool:
    """Return whether the file differs in content, owner or mode."""
    if not file.exists():
        return True
    wrong_access = file.owner() != owner or file.stat().st_mode & 0o777 != 0o600
    return wrong_access or file.read_bytes() != content


def write(file: Path, content: bytes, owner: str) -> None:
    """Replace the file atomically; only its owner can ever read it."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        output.write(content)
    shutil.chown(partial, owner)
    partial.replace(file)


def make_folder(folder: Path, owner: str) -> None:
    """Create the folder, accessible to its owner alone."""
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
        new = {name: data for name, data in (files or {}).items() if differs(dest / name, data, owner)}
        if new and not module.check_mode:
            make_folder(dest, owner)
            for name, data in new.items():
                write(dest / name, data, owner)
    except (OSError, LookupError, tarfile.TarError) as error:
        module.fail_json(msg=f"{source} cannot be copied to {dest}: {error}")
    module.exit_json(
        changed=bool(new) or files is None,
        written=[*new],
        diff={"before": "", "after": "".join(f"{dest / name}\n" for name in new)},
    )


if __name__ == "__main__":
    main()
