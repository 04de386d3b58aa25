"""The SSH agent of the guest's owner, at a socket that containers may mount.

A process for each client connects it to the agent. The process has only the owner's rights, so that whatever is at the
agent's path, such as a link, opens nothing that the owner may not open.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from ..linux import syscalls
from ..net.socket_address import peer_credentials
from . import host_services
from .guest_spec import GuestSpec

SOCKET = "ssh-auth.sock"
_MAX_CLIENTS = 64  # at a time
_CHUNK = 65536


@dataclass(frozen=True)
class SshAgent:
    """The path of the agent's socket on the host, or empty for none, and the ids of its owner."""

    path: str = ""
    uid: int = 0
    gid: int = 0

    @classmethod
    def parse(cls, path: str, home: str = "/home/user", uid: int = 0, gid: int = 0) -> SshAgent:
        """Read a path such as ``~/.ssh/agent.sock`` in ``home``; raise ValueError."""
        if path.startswith("~/"):
            path = home + path[1:]
        if (path and not path.startswith("/")) or "\0" in path:
            raise ValueError(f"{path!r}: not the path of an agent's socket, such as ~/.ssh/agent.sock")
        return cls(path, uid, gid)

    @classmethod
    def load(cls, text: str) -> SshAgent:
        """Read the text of `dump`; raise ValueError or TypeError."""
        return cls(**json.loads(text))

    def dump(self) -> str:
        """Return the text of the file that keeps the running guest's agent."""
        return json.dumps(asdict(self)) + "\n"

    def __str__(self) -> str:
        """Return the path for people, or ``none``."""
        return self.path or "none"


class SshAgentServer:
    """Listens in the guest's folder of sockets and connects each client to the agent.

    ``host`` is a descriptor of the host's mount namespace.
    """

    def __init__(self, spec: GuestSpec, host: int) -> None:
        self._spec = spec
        self._host = host
        self._path = Path(spec.run_dir) / host_services.FOLDER / SOCKET
        self._path.unlink(missing_ok=True)
        self._children: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)
        self._listener.listen(16)
        self._listener.setblocking(False)

    def fileno(self) -> int:
        """Return the listening descriptor, for a selector."""
        return self._listener.fileno()

    def serve_one(self) -> None:
        """Connect one client to the agent. Any user of the guest may be a client, and no user of the host."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            client, _ = self._listener.accept()
            with client:
                agent = SshAgent.load(self._spec.ssh_agent_file.read_text())
                if agent.path and self._is_guests(client) and len(self._children) < _MAX_CLIENTS:
                    self._children.add(syscalls.fork(lambda: self._connect(client, agent)))

    def _is_guests(self, client: socket.socket) -> bool:
        return peer_credentials(client).uid in self._spec.uids

    def reap_children(self) -> None:
        """Reap the processes whose clients are gone."""
        self._children = {pid for pid in self._children if os.waitpid(pid, os.WNOHANG) == (0, 0)}

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _connect(self, client: socket.socket, agent: SshAgent) -> None:
        """Give up the supervisor's descriptors and rights, and relay between client and agent; runs in the child."""
        syscalls.setns(self._host, syscalls.CLONE_NEWNS)
        os.dup2(client.fileno(), 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        client = socket.socket(fileno=3)
        os.setgroups([])
        os.setresgid(agent.gid, agent.gid, agent.gid)
        os.setresuid(agent.uid, agent.uid, agent.uid)
        syscalls.die_with_parent()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as target:
            try:
                target.connect(agent.path)
            except OSError as error:
                raise OSError(f"host: no SSH agent at {agent}, which guest_ssh_agent names: {error.strerror}") from None
            relay(client, target)


def relay(client: socket.socket, agent: socket.socket) -> None:
    """Relay in both directions until the agent closes its side."""
    watched = [client, agent]
    while True:
        for end in select.select(watched, [], [])[0]:
            other = agent if end is client else client
            if data := end.recv(_CHUNK):
                other.sendall(data)
            elif end is agent:
                return
            else:
                watched.remove(client)
                agent.shutdown(socket.SHUT_WR)
