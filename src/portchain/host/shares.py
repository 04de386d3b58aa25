"""The host's folders that are shared with a guest, at the same path: reading and checking the list."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ..linux.nested_paths import within

_OPTIONS = re.compile(r"rw|ro|user=(\d{1,5})")
_GREATEST_USER = 65535
# The guest's own folders. A share may cover none of them, and may not lie inside one of the first.
_CLOSED = (
    *("/bin", "/boot", "/containers", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys"),
    *("/usr/bin", "/usr/lib", "/usr/sbin", "/var/lib/containerd", "/var/lib/docker", "/var/run"),
)
_OPEN = ("/etc", "/tmp", "/usr", "/var/log")


@dataclass(frozen=True, order=True)
class Share:
    """A shared folder. ``user`` is the id of the user and group that own it in the guest."""

    path: str
    read_only: bool = False
    user: int = 0

    @classmethod
    def parse(cls, text: str, home: str) -> Share:
        """Read ``/path`` or ``~/path`` in ``home``, with ``:ro``, ``:user=1000`` or both after it; raise ValueError."""
        path, colon, rest = text.partition(":")
        options = [_OPTIONS.fullmatch(option) for option in rest.split(",")] if colon else []
        user = max((int(option[1]) for option in options if option and option[1]), default=0)
        if None in options or user > _GREATEST_USER:
            raise ValueError(
                f"{text!r}: after the folder comes :ro, for reading only, :user=1000, :ro,user=1000 or nothing"
            )
        if path == "~" or path.startswith("~/"):
            path = home + path[1:]
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise ValueError(f"{text!r}: not a folder such as /srv/data or ~/work, with :ro for reading only")
        share = cls("/" + posixpath.normpath(path).lstrip("/"), "ro" in rest.split(","), user)
        covers_own = any(within(folder, share.path) for folder in (*_CLOSED, *_OPEN))
        if covers_own or any(within(share.path, folder) for folder in _CLOSED):
            raise ValueError(f"{text!r}: the guest has its own there; share a folder elsewhere")
        return share

    def __str__(self) -> str:
        """Return the share as `parse` reads it."""
        options = ",".join(["ro"] * self.read_only + [f"user={self.user}"] * bool(self.user))
        return f"{self.path}:{options}" if options else self.path


@dataclass(frozen=True)
class Shares:
    """The shared folders, and the ids of the user and group of the host that own their files."""

    folders: tuple[Share, ...] = ()
    uid: int = 0
    gid: int = 0

    @classmethod
    def parse(cls, texts: Iterable[str], home: str = "/home/user", uid: int = 0, gid: int = 0) -> Shares:
        """Read folders such as ``~`` and ``/srv/data:ro``; raise ValueError naming the wrong one."""
        return cls(_in_order(Share.parse(str(text), home) for text in texts), uid, gid)

    @classmethod
    def load(cls, text: str) -> Shares:
        """Read the text of `dump`; raise ValueError, TypeError or KeyError."""
        data = json.loads(text)
        return cls.parse(data["folders"], uid=int(data["uid"]), gid=int(data["gid"]))

    def dump(self) -> str:
        """Return the text of the file that keeps the running guest's shares."""
        return json.dumps({"folders": [str(share) for share in self.folders], "uid": self.uid, "gid": self.gid}) + "\n"

    def resolved(self) -> Shares:
        """Return the shares with their real paths on this machine; raise ValueError for one that is not a folder."""
        for share in self.folders:
            if not Path(share.path).is_dir():
                raise ValueError(f"host: guest_shares: {share.path} is not a folder of this machine")
        real = (str(replace(share, path=str(Path(share.path).resolve()))) for share in self.folders)
        return replace(self, folders=Shares.parse(real).folders)

    def holding(self, path: str) -> Share | None:
        """Return the innermost share that contains ``path``, which is absolute and without links."""
        return max((share for share in self.folders if within(path, share.path)), default=None)

    def __str__(self) -> str:
        """Return the shares for people, or ``nothing``."""
        return ", ".join(map(str, self.folders)) or "nothing"


def _in_order(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Sort shares, outer before inner, without repeats; raise ValueError for one folder with different options."""
    ordered = tuple(sorted(set(shares)))
    for share, following in pairwise(ordered):
        if share.path == following.path:
            raise ValueError(f"{share} and {following} are the same folder: share it in one way")
    return ordered
