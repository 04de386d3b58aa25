"""Which of the host's folders a guest has, at the same path. No mounts are made here."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

_RIGHTS = {"rw": False, "ro": True}
# What of the guest's own a share may not lie over, or, of the first, lie in.
_CLOSED = (
    *("/bin", "/boot", "/containers", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys"),
    *("/usr/bin", "/usr/lib", "/usr/sbin", "/var/lib/containerd", "/var/lib/docker", "/var/run"),
)
_OPEN = ("/etc", "/tmp", "/usr", "/var/log")


@dataclass(frozen=True, order=True)
class Share:
    """A folder of the host."""

    path: str
    read_only: bool = False

    @classmethod
    def parse(cls, word: str, home: str) -> Share:
        """Read ``/path`` or ``~/path`` in ``home``, with ``:ro`` for reading only; raise ValueError."""
        path, _, rights = word.partition(":")
        if rights and rights not in _RIGHTS:
            raise ValueError(f"{word!r}: after the folder comes :ro, for reading only, or nothing")
        if path == "~" or path.startswith("~/"):
            path = home + path[1:]
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise ValueError(f"{word!r}: not a folder such as /srv/data or ~/work, with :ro for reading only")
        share = cls("/" + posixpath.normpath(path).lstrip("/"), _RIGHTS.get(rights, False))
        if any(within(own, share.path) for own in (*_CLOSED, *_OPEN)) or any(within(share.path, o) for o in _CLOSED):
            raise ValueError(f"{word!r}: the guest has its own there; share a folder elsewhere")
        return share

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.path}:ro" if self.read_only else self.path


@dataclass(frozen=True)
class Shares:
    """The folders, and whose they are: this user and group of the host (ids) are the guest's root in them."""

    folders: tuple[Share, ...] = ()
    uid: int = 0
    gid: int = 0

    @classmethod
    def parse(cls, words: Iterable[str], home: str = "/home/user", uid: int = 0, gid: int = 0) -> Shares:
        """Read words such as ``~`` and ``/srv/data:ro``; raise ValueError naming the wrong one."""
        return cls(_apart(Share.parse(str(word), home) for word in words), uid, gid)

    @classmethod
    def load(cls, text: str) -> Shares:
        """Read what `dump` wrote; raise ValueError, TypeError or KeyError."""
        data = json.loads(text)
        return cls.parse(data["folders"], uid=int(data["uid"]), gid=int(data["gid"]))

    def dump(self) -> str:
        """The text of the file in which the running guest's shares are kept."""
        return json.dumps({"folders": [str(share) for share in self.folders], "uid": self.uid, "gid": self.gid}) + "\n"

    def resolved(self) -> Shares:
        """With the folders' real paths on this machine; raise ValueError for what is not a folder."""
        for share in self.folders:
            if not Path(share.path).is_dir():
                raise ValueError(f"host: guest_shares: {share.path} is not a folder of this machine")
        real = (str(replace(share, path=str(Path(share.path).resolve()))) for share in self.folders)
        return replace(self, folders=Shares.parse(real).folders)

    def has(self, path: str) -> bool:
        """Whether ``path``, absolute and without links, is in a share."""
        return any(within(path, share.path) for share in self.folders)

    def __str__(self) -> str:
        """For people."""
        return ", ".join(map(str, self.folders)) or "nothing"


def within(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or below it, both absolute and normal."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _apart(shares: Iterable[Share]) -> tuple[Share, ...]:
    """In order, and none in another: raise ValueError, for which of the two is meant?"""
    found = tuple(sorted(set(shares)))
    for index, one in enumerate(found):
        for other in found[index + 1 :]:
            if within(other.path, one.path):
                raise ValueError(f"{other} lies in {one}: share one of them")
    return found
