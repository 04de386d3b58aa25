"""The folder of the sockets that a guest sees as /run/host-services."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "host-services"


def make(run_dir: Path, guest_uid: int) -> Path:
    """Create the folder in ``run_dir`` if it is missing, set its owner and mode, and return its path.

    It belongs to root on the host; the guest's root may enter it by its group, and nobody else. The guest's mount of it
    is read-only: the guest can change no mode there, and so cannot open a socket to other users of the host.
    """
    folder = run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    os.chown(folder, -1, guest_uid)
    folder.chmod(0o750)
    return folder


def lending_socket(run_dir: Path) -> Path:
    """Return the path of the socket at which a guest lends sockets to its relay."""
    return run_dir / FOLDER / "forwarder.sock"


def relay_socket(run_dir: Path) -> Path:
    """Return the path of the socket at which a forwarder hands listening sockets to its guest's relay."""
    return run_dir / "relay.sock"
