"""The publications that clients asked for and the host ports given to them, kept across restarts of the daemon."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from ...linux import atomic_files
from ...ports.forward import Endpoint
from .publications import ContainerPublication

RECORDS_FILE = "ports.json"
VERSION = 2
MAX_PUBLICATIONS = 131_072  # of all containers of a guest: as many as there are ports, tcp and udp
_REFUSED = "the host refused the start"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What the host knows of a container and the engine does not.

    ``proxy`` is the version of the PROXY protocol for its ports, by key: ``{"80/tcp": "v2"}``. ``chosen`` are the host
    ports given to publications without an explicit one, by guest endpoint. ``refused`` is why the host refused its last
    start, or empty; ``refused_for_guest`` is what clients in the guest read of that.
    """

    published: tuple[ContainerPublication, ...] = ()
    proxy: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    refused_for_guest: str = ""

    @property
    def not_refused(self) -> Record:
        """The record after a start that was not refused."""
        return replace(self, refused="", refused_for_guest="")

    @property
    def for_guest(self) -> Record:
        """The record as clients in the guest may see it."""
        return replace(self, refused=self.refused and (self.refused_for_guest or _REFUSED))

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Record:
        """Read a record from the result of `as_dict`; raise ValueError, TypeError, KeyError or AttributeError."""
        rows = kept["published"]
        published = (
            ContainerPublication.of(key, ip, port, Endpoint.parse(guest), all_) for key, ip, port, guest, all_ in rows
        )
        return cls(
            tuple(publication for publication in published if publication),
            {str(key): str(version) for key, version in kept["proxy"].items()},
            {str(guest): int(port) for guest, port in kept["chosen"].items()},
            str(kept["refused"]),
            str(kept.get("refused_for_guest", "")),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain data for JSON."""
        rows = [[row.key, row.ip, row.port, str(row.guest), row.of_all] for row in self.published]
        return {
            "published": rows,
            "proxy": dict(self.proxy),
            "chosen": dict(self.chosen),
            "refused": self.refused,
            "refused_for_guest": self.refused_for_guest,
        }


class Records:
    """The records of containers by id, kept in the file ``path``. A damaged file counts as empty.

    ``earlier`` are the chosen ports from a file of an earlier version, or None once `add_earlier` was called.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, Record] = {}
        self._texts: dict[str, str] = {}
        self.earlier: dict[str, Any] | None = {}
        try:
            kept = json.loads(path.read_text())
            if kept.get("version") == VERSION:
                self._records = {
                    str(container_id): Record.read(row) for container_id, row in kept["containers"].items()
                }
                self.earlier = None
            else:
                self.earlier = dict(kept)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
            log.error("host: %s cannot be read (%s): starting without it; containers may get other ports", path, error)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._records))

    def get(self, container_id: str) -> Record:
        """Return a container's record, an empty one if there is none."""
        return self._records.get(container_id, Record())

    def put(self, container_id: str, record: Record) -> None:
        """Store a container's record."""
        if record == Record():
            self.forget(container_id)
        elif self._records.get(container_id) != record:
            self._records[container_id] = record
            self._texts.pop(container_id, None)
            self._save()

    def forget(self, container_id: str) -> None:
        """Remove the record of a container that is gone."""
        self._texts.pop(container_id, None)
        if self._records.pop(container_id, None):
            self._save()

    def add_earlier(self, records: Mapping[str, Record]) -> None:
        """Add the records of containers that were created before there was a file of this version."""
        self._records = {**records, **self._records}
        self._texts.clear()
        self.earlier = None
        self._save()

    def publications(self) -> Iterator[ContainerPublication]:
        """Return the publications of all containers, running or not."""
        return chain.from_iterable(record.published for record in self._records.values())

    def chosen_by_others(self, container_id: str) -> set[int]:
        """Return the host ports that were given to other containers, running or not."""
        others = (record for other_id, record in self._records.items() if other_id != container_id)
        return {port for record in others for port in record.chosen.values()}

    def _save(self) -> None:
        for container_id in self._records.keys() - self._texts.keys():
            record = json.dumps(self._records[container_id].as_dict())
            self._texts[container_id] = f"{json.dumps(container_id)}: {record}"
        containers = ",\n".join(self._texts[container_id] for container_id in self._records)
        try:
            atomic_files.replace(self._path, f'{{"version": {VERSION}, "containers": {{\n{containers}\n}}}}')
        except OSError as error:
            log.error(
                "host: cannot save %s (%s): containers may get other ports at their next start", self._path, error
            )
