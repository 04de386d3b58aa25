"""The SSH agent of the guest's owner in containers, at the path that Docker Desktop has it at."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from conftest import OWNER
from probing import as_root, family

from portchain.host.ssh_agent import SshAgent
from support.waiting import eventually

SOCKET = "/run/host-services/ssh-auth.sock"
MOST = 64


class RealAgent:
    """An ssh-agent of OWNER's with one key."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "agent.sock"
        self._key = folder / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the owner", "-f", self._key], check=True
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have it listen, and give it the key."""
        words = ["ssh-agent", "-D", "-a", str(self.path)]
        user = {} if os.getuid() else {"user": OWNER, "group": OWNER}
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, **user)
        eventually(self.path.exists, "the agent's socket")
        self("ssh-add", "-q", str(self._key))

    def stop(self) -> None:
        """End it; its socket goes too."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
        self.path.unlink(missing_ok=True)

    def __call__(self, *command: str) -> str:
        """What a command says that has the agent, on the host."""
        environment = {**os.environ, "SSH_AUTH_SOCK": str(self.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAgent]:
    """OWNER's agent, not started yet."""
    folder = tmp_path_factory.mktemp("agent")
    for one in (folder, folder.parent, folder.parent.parent):
        one.chmod(0o755)
    as_root("chown", str(OWNER), str(folder))
    found = RealAgent(folder)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def offer(guest_name: str) -> Iterator[Callable[[Path | str], None]]:
    """Has the guest be offered the agent at a path, OWNER's; what the inventory says comes back."""
    path = f"/var/lib/portchain/{guest_name}/ssh-agent.json"
    before = as_root("cat", path)

    def put(text: str) -> None:
        as_root("sh", "-c", 'printf "%s" "$1" >"$2.new" && mv "$2.new" "$2"', "sh", text, path)

    yield lambda agent: put(SshAgent(str(agent), OWNER, OWNER).dump())
    put(before)


@pytest.fixture(scope="session")
def programs(guest_name: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The guest's own ssh-add and ssh-keygen, as an archive for containers."""
    root = json.loads(as_root("cat", f"/var/lib/portchain/{guest_name}/guest.json"))["root"]
    archive = tmp_path_factory.mktemp("programs") / "programs.tar"
    as_root("tar", "--create", f"--file={archive}", f"--directory={root}/usr/bin", "ssh-add", "ssh-keygen")
    return archive.read_bytes()


@pytest.fixture
def client(probe: Callable[..., Any], programs: bytes) -> Callable[..., Any]:
    """Makes a container that has the agent's socket, or what is at ``source``; returns what runs a line of shell."""

    def run(source: Path | str = SOCKET) -> Callable[..., str]:
        words = {"environment": {"SSH_AUTH_SOCK": SOCKET}, "volumes": [f"{source}:{SOCKET}"]}
        container = probe("300", entrypoint=["sleep"], **words)
        container.put_archive("/usr/local/bin", programs)

        def say(line: str, user: str = "root") -> str:
            said = container.exec_run(["sh", "-c", f"cd /tmp; {{ {line}; }} 2>&1; echo $?"], user=user)
            return str(said.output.decode())

        return say

    return run


@pytest.fixture
def offered(agent: RealAgent, offer: Callable[..., None]) -> Iterator[RealAgent]:
    """The agent, running and offered."""
    offer(agent.path)
    agent.start()
    yield agent
    agent.stop()


def test_none_is_offered_unless_the_inventory_says_so(guest_name: str, client: Callable[..., Any]) -> None:
    assert json.loads(as_root("cat", f"/var/lib/portchain/{guest_name}/ssh-agent.json"))["path"] == ""
    with pytest.raises(docker.errors.APIError, match=r"Mounts denied: the guest has no SSH agent.*guest_ssh_agent"):
        client()


@pytest.mark.parametrize("user", ["root", "www-data"])
def test_containers_see_its_keys_and_sign_with_them(offered: RealAgent, client: Callable[..., Any], user: str) -> None:
    say = client()
    assert say("ssh-add -l", user) == f"{offered('ssh-add', '-l')}0\n"
    line = "ssh-add -L >key.pub && echo text | ssh-keygen -q -Y sign -n file -f key.pub | head -1"
    assert say(line, user) == "-----BEGIN SSH SIGNATURE-----\n0\n"


def test_an_agent_that_starts_later_or_anew_is_the_one_that_a_running_container_has(
    agent: RealAgent, offer: Callable[..., None], client: Callable[..., Any]
) -> None:
    offer(agent.path)
    say = client()
    assert "communication with agent failed" in say("ssh-add -l")
    for _ in range(2):
        agent.start()
        assert say("ssh-add -l") == f"{agent('ssh-add', '-l')}0\n"
        agent.stop()


def test_its_path_on_the_host_is_the_same_socket(
    offered: RealAgent, client: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(offered.path)
    for source in (offered.path, tmp_path / "link"):
        assert client(source)("ssh-add -l") == f"{offered('ssh-add', '-l')}0\n"


def test_what_its_owner_may_not_open_is_not_opened_for_the_guest(
    offer: Callable[..., None], client: Callable[..., Any], run_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("link") / "agent.sock"
    link.parent.chmod(0o755)
    link.symlink_to(run_dir / "host-services/supervisor.sock")
    offer(link)
    ask = "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['SSH_AUTH_SOCK'])"
    said = client()(f"python3 -c \"{ask}; s.sendall(b'trim\\n'); print(s.recv(100))\"")
    assert said == "b''\n0\n" or "ConnectionResetError" in said or "BrokenPipeError" in said, said


def test_no_user_of_the_host_comes_by_the_agent_through_it(offered: RealAgent, run_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(run_dir / "host-services/ssh-auth.sock"))
        try:
            client.sendall(b"\0\0\0\1\x0b")
            assert client.recv(1) == b""
        except ConnectionError:
            pass


def test_clients_that_stay_are_bounded_and_end_with_their_container(
    offered: RealAgent, client: Callable[..., Any], state: dict[str, Any]
) -> None:
    def processes() -> int:
        return len(family(state["supervisor"])) - len(family(state["pid"]))

    before = processes()
    say = client()
    hold = "import os, socket, subprocess; held = [socket.socket(socket.AF_UNIX) for _ in range(200)]"
    hold += "; [one.connect(os.environ['SSH_AUTH_SOCK']) for one in held]; subprocess.call(['ssh-add', '-l'])"
    assert "communication with agent failed" in say(f'python3 -c "{hold}"')
    assert processes() <= before + MOST
    eventually(lambda: processes() <= before, "the processes of clients that are gone to end")
    assert say("ssh-add -l").endswith("\n0\n")
