"""Development environments: volumes of the engine, filled from a git repository or a folder.

Each is filled in a volume of its own first. Once that is complete, the environment's volume is made, and the filled
folder is renamed to be its folder. So no volume with an environment's name is ever half filled.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ....http.server import RequestError
from ...engine_api import Ask

SOURCE = "com.docker.dev-environments.source"
KIND = "com.docker.dev-environments.kind"
FILLING = "com.docker.dev-environments.filling"
_FILLED_IN = "com.docker.dev-environments.filled-in"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}")


@dataclass
class Filling:
    """An environment being filled, in ``folder``; ``progress`` is a sentence for people."""

    name: str
    kind: str
    source: str
    started: float
    volume: str = ""
    folder: Path = Path()
    progress: str = ""

    @property
    def scratch(self) -> Path:
        """The path of a scratch file on the same disk; it goes when the filling ends."""
        return self.folder.with_name("scratch")

    def row(self) -> dict[str, Any]:
        """Return the environment as `Environments.rows` lists it."""
        labels = {KIND: self.kind, SOURCE: self.source}
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started))
        return {
            **_row({"Name": self.name, "Labels": labels, "CreatedAt": created}, "filling"),
            "progress": self.progress,
        }


class Environments:
    """The environments of one engine; ``ask`` asks it."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._fillings: dict[str, Filling] = {}
        self._lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Return all environments, sorted by name.

        Each has name, kind (git or folder), source, state (ready or filling), created and progress.
        """
        fillings = dict(self._fillings)
        ready = [_row(volume, "ready") for volume in self._volumes(SOURCE) if volume["Name"] not in fillings]
        return sorted([*ready, *(filling.row() for filling in fillings.values())], key=lambda row: str(row["name"]))

    @contextmanager
    def filling(self, name: str, kind: str, source: str) -> Iterator[Filling]:
        """Let the caller fill a folder, which then becomes environment ``name``; nothing is left if that raises."""
        if not _NAME.fullmatch(name):
            message = f"guest: {name!r} cannot name an environment; use 2 to 64 letters, digits, _ . and -"
            raise RequestError(HTTPStatus.BAD_REQUEST, message)
        filling = Filling(name, kind, without_password(source), time.time())
        with self._lock:
            if name in self._fillings:
                raise RequestError(HTTPStatus.CONFLICT, f"guest: environment {name} is being filled")
            self._fillings[name] = filling
        try:
            self.clear()
            self._check_free(name)
            filling.volume = f"devenv-{uuid.uuid4().hex[:12]}"
            volume = self._ask("POST", "/volumes/create", {"Name": filling.volume, "Labels": {FILLING: name}})
            filling.folder = Path(volume["Mountpoint"])
            try:
                yield filling
                self._finish(filling)
            finally:
                self._ask("DELETE", f"/volumes/{filling.volume}")
        finally:
            del self._fillings[name]

    def remove(self, name: str) -> None:
        """Remove an environment; raise RequestError, also if a container uses it."""
        row = next((row for row in self.rows() if row["name"] == name), None)
        if row is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"guest: no environment {name}")
        if row["state"] != "ready":
            raise RequestError(HTTPStatus.CONFLICT, f"guest: environment {name} is being filled")
        self._ask("DELETE", f"/volumes/{name}")

    def clear(self) -> None:
        """Remove what fillings left that this service or the engine did not live to end; raise RequestError."""
        for volume in self._volumes(FILLING):
            name = volume["Name"]
            if name in [filling.volume for filling in self._fillings.values()]:
                continue
            if Path(volume["Mountpoint"]).exists():
                for empty in self._volumes(f"{_FILLED_IN}={name}"):
                    self._ask("DELETE", f"/volumes/{empty['Name']}")
            self._ask("DELETE", f"/volumes/{name}")

    def _check_free(self, name: str) -> None:
        try:
            self._ask("GET", f"/volumes/{name}")
        except RequestError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return
            raise
        raise RequestError(HTTPStatus.CONFLICT, f"guest: there is a volume {name}; remove it or take another name")

    def _finish(self, filling: Filling) -> None:
        labels = {SOURCE: filling.source, KIND: filling.kind, _FILLED_IN: filling.volume}
        volume = self._ask("POST", "/volumes/create", {"Name": filling.name, "Labels": labels})
        if (volume["Labels"] or {}).get(_FILLED_IN) != filling.volume:
            raise RequestError(HTTPStatus.CONFLICT, f"guest: a volume {filling.name} was made meanwhile")
        try:
            subprocess.run(["sync", "--file-system", str(filling.folder)], check=True)
            filling.folder.rename(volume["Mountpoint"])
        except BaseException:
            self._ask("DELETE", f"/volumes/{filling.name}")
            raise

    def _volumes(self, label: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"filters": json.dumps({"label": [label]})})
        volumes: list[dict[str, Any]] = self._ask("GET", f"/volumes?{query}")["Volumes"] or []
        return volumes


def without_password(source: str) -> str:
    """Return a URL without its password, fit to be displayed."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1@", source)


def _row(volume: dict[str, Any], state: str) -> dict[str, Any]:
    labels = volume["Labels"]
    return {
        "name": volume["Name"],
        "kind": labels.get(KIND, ""),
        "source": labels[SOURCE],
        "state": state,
        "created": volume.get("CreatedAt", ""),
        "progress": "",
    }
