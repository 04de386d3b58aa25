"""Development environments: volumes of the engine's, filled from a git repository or a folder.

A filling goes into a volume of its own. Only when it is whole is the environment's volume made, and the filled folder
renamed to be its folder: what has an environment's name is never half filled.
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

from .engine_api import Ask
from .http_service import RequestError

SOURCE = "com.docker.dev-environments.source"
KIND = "com.docker.dev-environments.kind"
FILLING = "com.docker.dev-environments.filling"
_FILLED_IN = "com.docker.dev-environments.filled-in"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}")


@dataclass
class Filling:
    """An environment on its way: ``folder`` is to be filled, ``scratch`` is beside it; ``progress`` is for people."""

    name: str
    kind: str
    source: str
    started: float
    volume: str = ""
    folder: Path = Path()
    progress: str = ""

    @property
    def scratch(self) -> Path:
        """A place on the same disk, gone with the filling."""
        return self.folder.with_name("scratch")

    def row(self) -> dict[str, Any]:
        """As it is listed."""
        labels = {KIND: self.kind, SOURCE: self.source}
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started))
        return {
            **_row({"Name": self.name, "Labels": labels, "CreatedAt": created}, "filling"),
            "progress": self.progress,
        }


class Environments:
    """The environments of the engine that ``ask`` asks."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._fillings: dict[str, Filling] = {}
        self._lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """All of them, by name: name, kind (git or folder), source, state (ready or filling), created, progress."""
        fillings = dict(self._fillings)
        ready = [_row(one, "ready") for one in self._volumes(SOURCE) if one["Name"] not in fillings]
        return sorted([*ready, *(one.row() for one in fillings.values())], key=lambda row: str(row["name"]))

    @contextmanager
    def filling(self, name: str, kind: str, source: str) -> Iterator[Filling]:
        """What the caller fills becomes the environment ``name`` at the end, or nothing where that raises."""
        if not _NAME.fullmatch(name):
            message = f"guest: {name!r} is no environment's name: 2 to 64 letters, digits, _ . and -"
            raise RequestError(HTTPStatus.BAD_REQUEST, message)
        one = Filling(name, kind, without_password(source), time.time())
        with self._lock:
            if name in self._fillings:
                raise RequestError(HTTPStatus.CONFLICT, f"guest: environment {name} is being filled")
            self._fillings[name] = one
        try:
            self.clear()
            self._must_be_free(name)
            one.volume = f"devenv-{uuid.uuid4().hex[:12]}"
            made = self._ask("POST", "/volumes/create", {"Name": one.volume, "Labels": {FILLING: name}})
            one.folder = Path(made["Mountpoint"])
            try:
                yield one
                self._finish(one)
            finally:
                self._ask("DELETE", f"/volumes/{one.volume}")
        finally:
            del self._fillings[name]

    def remove(self, name: str) -> None:
        """Remove an environment; raise RequestError, also while a container uses it."""
        row = next((row for row in self.rows() if row["name"] == name), None)
        if row is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"guest: no environment {name}")
        if row["state"] != "ready":
            raise RequestError(HTTPStatus.CONFLICT, f"guest: environment {name} is being filled")
        self._ask("DELETE", f"/volumes/{name}")

    def clear(self) -> None:
        """Remove what nobody fills any more: this service or the engine ended meanwhile. Raise RequestError."""
        for left in self._volumes(FILLING):
            name = left["Name"]
            if name in [one.volume for one in self._fillings.values()]:
                continue
            if Path(left["Mountpoint"]).exists():
                for empty in self._volumes(f"{_FILLED_IN}={name}"):
                    self._ask("DELETE", f"/volumes/{empty['Name']}")
            self._ask("DELETE", f"/volumes/{name}")

    def _must_be_free(self, name: str) -> None:
        try:
            self._ask("GET", f"/volumes/{name}")
        except RequestError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return
            raise
        raise RequestError(HTTPStatus.CONFLICT, f"guest: there is a volume {name}; remove it or take another name")

    def _finish(self, one: Filling) -> None:
        labels = {SOURCE: one.source, KIND: one.kind, _FILLED_IN: one.volume}
        made = self._ask("POST", "/volumes/create", {"Name": one.name, "Labels": labels})
        if (made["Labels"] or {}).get(_FILLED_IN) != one.volume:
            raise RequestError(HTTPStatus.CONFLICT, f"guest: a volume {one.name} was made meanwhile")
        try:
            subprocess.run(["sync", "--file-system", str(one.folder)], check=True)
            one.folder.rename(made["Mountpoint"])
        except BaseException:
            self._ask("DELETE", f"/volumes/{one.name}")
            raise

    def _volumes(self, label: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"filters": json.dumps({"label": [label]})})
        found: list[dict[str, Any]] = self._ask("GET", f"/volumes?{query}")["Volumes"] or []
        return found


def without_password(source: str) -> str:
    """A URL fit to be shown."""
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
