"""Make the files and volumes that the guest's YAML asks for."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ..linux import syscalls
from ..linuxkit.paths import CONTAINERS, VOLUMES

_SCRATCH = Path("/run/containers/volumes")


def make_all(containers: Path = Path(CONTAINERS)) -> int:
    """Make what ``containers``/guest.json asks for; return how many could not be made, which are reported on stderr."""
    guest = json.loads((containers / "guest.json").read_text())
    files = [("file", file["path"], partial(make_file, file)) for file in guest["files"]]
    volumes = [("volume", volume["name"], partial(mount_volume, volume, containers)) for volume in guest["volumes"]]
    failed = 0
    for kind, name, create in files + volumes:
        try:
            create()
        except (OSError, ValueError) as error:
            failed += 1
            print(f"guest: {kind} {name!r} cannot be made: {error}", file=sys.stderr, flush=True)
    return failed


def make_file(file: dict[str, Any]) -> None:
    """Make one file, folder or symlink of the root, and the folders above it."""
    path = Path(file["path"])
    if "symlink" in file:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(file["symlink"])
        return
    if file.get("directory"):
        path.mkdir(parents=True, exist_ok=True)
    elif "contents" in file:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["contents"], errors="surrogateescape")
    else:
        return
    os.chown(path, file["uid"], file["gid"])
    path.chmod(file["mode"])


def mount_volume(volume: dict[str, Any], containers: Path) -> None:
    """Make a volume below /run/volumes: empty, or with its image's files. What is written is kept in memory."""
    target = Path(VOLUMES) / volume["name"]
    target.mkdir(parents=True, exist_ok=True)
    image = volume["image"] and containers / "images" / volume["image"]
    if image and volume["readonly"]:
        syscalls.mount(str(image), target, "", syscalls.MS_BIND)
    elif image:
        scratch = _SCRATCH / volume["name"]
        for layer in ("upper", "work"):
            (scratch / layer).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={image},upperdir={scratch}/upper,workdir={scratch}/work,userxattr"
        syscalls.mount("overlay", target, "overlay", 0, options)
