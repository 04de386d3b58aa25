"""The contexts of guests in a docker configuration folder, usually ~/.docker, as the docker command stores them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..linux import atomic_files

_MARK = "portchain"  # the key in the metadata of our contexts; its value is the guest's name
_CONFIG = "config.json"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+")


class NotOursError(Exception):
    """The name belongs to a context that is not the guest's and is left alone."""


def check_name(name: str) -> None:
    """Raise ValueError for a name that the docker command does not accept for a context."""
    if name and (name == "default" or not _NAME.fullmatch(name)):
        raise ValueError(
            f"{name!r}: not a docker context's name: letters, digits, _ . + and -, two at least, not default"
        )


def context_metadata(name: str, guest: str, sock: Path) -> dict[str, Any]:
    """Return the docker command's metadata of a context for a guest's ``sock``."""
    return {
        "Name": name,
        "Metadata": {"Description": f"the portchain guest {guest}", _MARK: guest},
        "Endpoints": {"docker": {"Host": f"unix://{sock}", "SkipTLSVerify": False}},
    }


class DockerContexts:
    """The contexts of one guest in the configuration ``folder``. Methods raise OSError."""

    def __init__(self, folder: Path, guest: str) -> None:
        self._folder = folder
        self._guest = guest
        self._metas = folder / "contexts" / "meta"

    def ours(self) -> dict[str, dict[str, Any]]:
        """Return the metadata of the guest's contexts by name."""
        contexts = (_read(path) for path in sorted(self._metas.glob("*/meta.json")))
        return {str(context.get("Name")): context for context in contexts if _guest_of(context) == self._guest}

    def check(self, name: str) -> None:
        """Raise NotOursError if ``name`` is taken by a context that is not the guest's."""
        path = self._path(name)
        if path.exists() and _guest_of(_read(path)) != self._guest:
            raise NotOursError(f"host: {self._folder} has a context {name} that is not this guest's: it is left alone")

    def put(self, wanted: dict[str, dict[str, Any]]) -> None:
        """Make ``wanted``, metadata by name, the guest's only contexts."""
        for name in self.ours().keys() - wanted.keys():
            shutil.rmtree(self._path(name).parent)
            self._deselect(name)
        for name, context in wanted.items():
            path = self._path(name)
            if not self._folder.exists():
                self._folder.mkdir(0o700)
            path.parent.mkdir(0o755, parents=True, exist_ok=True)
            atomic_files.replace(path, json.dumps(context, separators=(",", ":")), 0o644)
        for folder in (self._metas, self._metas.parent, self._folder):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _path(self, name: str) -> Path:
        return self._metas / hashlib.sha256(name.encode()).hexdigest() / "meta.json"

    def _deselect(self, name: str) -> None:
        """Select no context if a removed one is selected, because every docker command would fail with it."""
        path = (self._folder / _CONFIG).resolve()
        config = _read(path)
        if config.get("currentContext") == name:
            del config["currentContext"]
            atomic_files.replace(path, json.dumps(config, indent="\t"), path.stat().st_mode & 0o777)


@contextlib.contextmanager
def acting_as(user: pwd.struct_passwd) -> Iterator[None]:
    """Run the body with the rights of ``user`` only, if the caller is root."""
    if os.geteuid():
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([user.pw_gid])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _guest_of(context: dict[str, Any]) -> Any:
    """Return the name of the guest that a context belongs to, None for a context that is not ours."""
    metadata = context.get("Metadata")
    return metadata.get(_MARK) if isinstance(metadata, dict) else None


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one if there is none."""
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
