"""The host ports given to publications that left the choice to us, kept over restarts of container and daemon."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from ..mapping.forward import Endpoint

log = logging.getLogger(__name__)


class Chosen:
    """For each container's guest endpoint its port on the host, in ``path``. A damaged file counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, dict[str, int]] = {}
        try:
            kept = json.loads(path.read_text())
            self._ports = {str(c): {str(g): int(p) for g, p in ports.items()} for c, ports in kept.items()}
        except FileNotFoundError:
            pass
        except (ValueError, AttributeError, TypeError) as error:
            log.error("host: %s is damaged (%s): starting without it, random ports may change", path, error)
        self._owners = {(g.partition(":")[0], p): c for c, ports in self._ports.items() for g, p in ports.items()}

    def get(self, container: str, guest: Endpoint) -> int | None:
        """The port given before."""
        return self._ports.get(container, {}).get(str(guest))

    def owner(self, protocol: str, port: int) -> str | None:
        """The container that a port was given to."""
        return self._owners.get((protocol, port))

    def put(self, container: str, ports: dict[Endpoint, int]) -> None:
        """Keep a container's ports; raise OSError."""
        wanted = {str(guest): port for guest, port in ports.items()}
        if wanted and self._ports.get(container) != wanted:
            self._drop(container)
            self._ports[container] = wanted
            self._owners |= {(guest.protocol, port): container for guest, port in ports.items()}
            self._save()

    def __iter__(self) -> Iterator[str]:
        """The containers that were given ports."""
        return iter(list(self._ports))

    def forget(self, container: str) -> None:
        """Let a container's ports be given to others; raise OSError."""
        if container in self._ports:
            self._drop(container)
            self._save()

    def _drop(self, container: str) -> None:
        for guest, port in self._ports.pop(container, {}).items():
            self._owners.pop((guest.partition(":")[0], port), None)

    def _save(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self._ports, indent=1))
        temporary.replace(self._path)
