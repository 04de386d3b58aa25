"""The files of the guest's /containers, made from its YAML and laid out as LinuxKit does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..linux.overlay_files import entries
from . import host_sockets
from .description import GuestYaml, LinuxkitContainer
from .oci_bundle import oci_config, runtime_config, without_memory_limit
from .paths import KINDS, Bundle


@dataclass(frozen=True)
class Node:
    """A file, folder or symlink: ``content`` is a file's bytes, None for a folder, or a symlink's target."""

    content: bytes | str | None
    executable: bool = False


def build_tree(guest: GuestYaml, hostname: str, limit_memory: bool = True) -> dict[str, Node]:
    """Return every node below /containers for ``guest``, by relative path.

    Without ``limit_memory``, for hosts that cannot limit memory, the services' memory limits are left out.
    """
    nodes = {name: Node(None) for name in ("images", *(f"images/{key}" for key in guest.images))}
    files = [_describe_file(file, guest.ids) for file in guest.files]
    nodes["guest.json"] = _json_node({"files": files, "volumes": guest.volumes})
    annotations = (service.options.get("annotations", {}) for service in guest.containers["services"])
    nodes[Path(host_sockets.FILE).name] = Node(host_sockets.dump(annotations).encode())
    for kind in KINDS:
        nodes[kind] = Node(None)
        for number, container in enumerate(guest.containers[kind]):
            bundle = Bundle(kind, f"{'' if kind == 'services' else f'{number:03}-'}{container.name}")
            config = oci_config(container, bundle, hostname, guest.ids)
            nodes |= _bundle_nodes(container, bundle, config if limit_memory else without_memory_limit(config))
    return nodes


def _bundle_nodes(container: LinuxkitContainer, bundle: Bundle, config: dict[str, Any]) -> dict[str, Node]:
    base = f"{bundle.kind}/{bundle.folder}"
    return {
        **{name: Node(None) for name in (base, f"{base}/files", f"{base}/rootfs")},
        **(_folder_nodes(container.files, f"{base}/files") if container.files else {}),
        f"{base}/config.json": _json_node(config),
        f"{base}/runtime.json": _json_node(runtime_config(container)),
    }


def _json_node(content: Any) -> Node:
    return Node(f"{json.dumps(content, indent=2)}\n".encode())


def _describe_file(file: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """Describe a file of the guest's root with its content, which an optional file may lack."""
    mode = file.get("mode") or ("0755" if file.get("directory") else "0644")
    description = {"path": f"/{file['path'].lstrip('/')}", "mode": int(mode, 8)}
    for key in ("uid", "gid"):
        value = file.get(key, 0)
        description[key] = value if isinstance(value, int) else {"root": 0, **ids}.get(value, 0)
    if file.get("source"):
        source = Path(file["source"])
        return description | ({"contents": source.read_text(errors="surrogateescape")} if source.is_file() else {})
    return description | {key: file[key] for key in ("directory", "symlink", "contents") if file.get(key) is not None}


def _folder_nodes(folder: Path, prefix: str) -> dict[str, Node]:
    nodes = {}
    for name, path, link in entries(folder):
        if link is not None:
            nodes[f"{prefix}/{name}"] = Node(link)
        elif path.is_dir():
            nodes[f"{prefix}/{name}"] = Node(None)
        else:
            nodes[f"{prefix}/{name}"] = Node(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return nodes


def read_tree(root: Path) -> dict[str, Node]:
    """Read the nodes that are below ``root`` now."""
    return {name.lstrip("/"): node for name, node in _folder_nodes(root, "").items()}


def write_tree(root: Path, nodes: Mapping[str, Node]) -> None:
    """Make ``root`` hold exactly ``nodes``, changing only what differs. Parents come before children."""
    present = read_tree(root)
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
