"""In the guest: the files and volumes of its YAML."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from . import kernel
from .places import CONTAINERS, VOLUMES

_SCRATCH = Path("/run/containers/volumes")


def make_all() -> None:
    """Make what /containers/guest.json asks for."""
    asked = json.loads((Path(CONTAINERS) / "guest.json").read_text())
    for file in asked["files"]:
        make(file)
    for volume in asked["volumes"]:
        mount(volume)


def make(file: dict[str, Any]) -> None:
    """Make one file, folder or symlink of the root; those above it are made as they are needed."""
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


def mount(volume: dict[str, Any]) -> None:
    """Have a volume below /run/volumes: empty, or with what its image has, in the guest's memory."""
    target = Path(VOLUMES) / volume["name"]
    target.mkdir(parents=True, exist_ok=True)
    image = volume["image"] and Path(CONTAINERS) / "images" / volume["image"]
    if image and volume["readonly"]:
        kernel.mount(str(image), target, "", kernel.MS_BIND)
    elif image:
        scratch = _SCRATCH / volume["name"]
        for layer in ("upper", "work"):
            (scratch / layer).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={image},upperdir={scratch}/upper,workdir={scratch}/work,userxattr"
        kernel.mount("overlay", target, "overlay", 0, options)
