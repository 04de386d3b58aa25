"""The services' bundles: from their folders in the catalogue to files below /containers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundle import oci_config, runtime_config
from .service_entry import EntryError, ServiceEntry


@dataclass(frozen=True)
class Node:
    """A file, folder or symlink: ``content`` is bytes, None, or the link's target."""

    content: bytes | str | None
    executable: bool = False


def tree(catalogue: Path, entries: Mapping[str, Any], images: frozenset[str], hostname: str) -> dict[str, Node]:
    """Every node below /containers for ``entries`` (parsed service.yml by folder), by relative path.

    Raises EntryError for an entry that cannot be used, or one whose name is not its folder's.
    """
    folders = (
        "images",
        "services",
        *(f"images/{name}" for name in images),
        *(f"services/{name}" for name in entries),
    )
    nodes = {name: Node(None) for name in folders}
    for folder, data in sorted(entries.items()):
        entry = ServiceEntry.parse(data, images)
        if entry.name != folder:
            raise EntryError(f"service {entry.name}: its folder is named {folder}; the two must be the same")
        base = f"services/{entry.name}"
        for name in ("files", "rootfs"):
            nodes[f"{base}/{name}"] = Node(None)
        nodes |= _files(catalogue / folder / "files", f"{base}/files")
        for name, content in (
            ("config.json", oci_config(entry, hostname)),
            ("runtime.json", runtime_config(entry)),
        ):
            nodes[f"{base}/{name}"] = Node(f"{json.dumps(content, indent=2)}\n".encode())
    return nodes


def _files(folder: Path, prefix: str) -> dict[str, Node]:
    nodes = {}
    for path in sorted(p for p in folder.rglob("*") if "__pycache__" not in p.parts):
        name = f"{prefix}/{path.relative_to(folder)}"
        if path.is_symlink():
            nodes[name] = Node(str(path.readlink()))
        elif path.is_dir():
            nodes[name] = Node(None)
        else:
            nodes[name] = Node(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return nodes


def read(root: Path) -> dict[str, Node]:
    """The nodes that are below ``root`` now."""
    return {name.lstrip("/"): node for name, node in _files(root, "").items()}


def write(root: Path, nodes: Mapping[str, Node]) -> None:
    """Make ``root`` hold exactly ``nodes``, touching only what differs. Parents come before children."""
    present = read(root)
    for name in sorted(present, reverse=True):
        if name not in nodes or (nodes[name] != present[name] and present[name].content is not None):
            path = root / name
            path.rmdir() if present[name].content is None else path.unlink()
    root.mkdir(parents=True, exist_ok=True)
    for name, node in sorted(nodes.items()):
        path = root / name
        if present.get(name) == node and (path.is_symlink() or path.exists()):
            continue
        if node.content is None:
            path.mkdir(mode=0o755, exist_ok=True)
        elif isinstance(node.content, str):
            path.symlink_to(node.content)
        else:
            path.write_bytes(node.content)
            path.chmod(0o755 if node.executable else 0o644)
