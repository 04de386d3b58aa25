"""The guest's /containers: from its YAML to files laid out as LinuxKit does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundle import oci_config, runtime_config, without_memory_limit
from .places import KINDS, Bundle
from .yaml_guest import Container, GuestYaml


@dataclass(frozen=True)
class Node:
    """A file, folder or symlink: ``content`` is bytes, None, or the link's target."""

    content: bytes | str | None
    executable: bool = False


def tree(guest: GuestYaml, hostname: str, limit_memory: bool = True) -> dict[str, Node]:
    """Every node below /containers for ``guest``, by relative path; ``limit_memory`` where the host can."""
    nodes = {name: Node(None) for name in ("images", *(f"images/{key}" for key in guest.images))}
    nodes["guest.json"] = _json({"files": [_file(file, guest.ids) for file in guest.files], "volumes": guest.volumes})
    for kind in KINDS:
        nodes[kind] = Node(None)
        for number, container in enumerate(guest.containers[kind]):
            bundle = Bundle(kind, f"{'' if kind == 'services' else f'{number:03}-'}{container.name}")
            config = oci_config(container, bundle, hostname, guest.ids)
            nodes |= _bundle(container, bundle, config if limit_memory else without_memory_limit(config))
    return nodes


def _bundle(container: Container, bundle: Bundle, config: dict[str, Any]) -> dict[str, Node]:
    base = f"{bundle.kind}/{bundle.folder}"
    return {
        **{name: Node(None) for name in (base, f"{base}/files", f"{base}/rootfs")},
        **(_files(container.files, f"{base}/files") if container.files else {}),
        f"{base}/config.json": _json(config),
        f"{base}/runtime.json": _json(runtime_config(container)),
    }


def _json(content: Any) -> Node:
    return Node(f"{json.dumps(content, indent=2)}\n".encode())


def _file(file: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """A file of the guest's root, its content with it; one that is optional may have none."""
    mode = file.get("mode") or ("0755" if file.get("directory") else "0644")
    found = {"path": f"/{file['path'].lstrip('/')}", "mode": int(mode, 8)}
    for key in ("uid", "gid"):
        value = file.get(key, 0)
        found[key] = value if isinstance(value, int) else {"root": 0, **ids}.get(value, 0)
    if file.get("source"):
        source = Path(file["source"])
        return found | ({"contents": source.read_text(errors="surrogateescape")} if source.is_file() else {})
    return found | {key: file[key] for key in ("directory", "symlink", "contents") if file.get(key) is not None}


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
