from __future__ import annotations

import socket
import threading

import pytest

from portchain.host.ssh_agent import SshAgent, relay


def test_an_agent_is_at_a_path_of_its_owners() -> None:
    agent = SshAgent.parse("~/.ssh/agent.sock", "/home/u", 1000, 100)
    assert agent == SshAgent("/home/u/.ssh/agent.sock", 1000, 100)
    assert SshAgent.load(agent.dump()) == agent
    assert (str(agent), str(SshAgent.parse(""))) == ("/home/u/.ssh/agent.sock", "none")


@pytest.mark.parametrize("path", ["agent.sock", "~other/agent.sock", "/tmp/a\0b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not the path of an agent's socket"):
        SshAgent.parse(path)


def test_a_client_that_has_said_all_still_gets_its_answer() -> None:
    (client, near), (far, agent) = socket.socketpair(), socket.socketpair()
    thread = threading.Thread(target=relay, args=(near, far))
    thread.start()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    asked = b"".join(iter(lambda: agent.recv(100), b""))
    agent.sendall(b"answer")
    assert (asked, client.recv(100)) == (b"question", b"answer")
    agent.close()
    thread.join(10)
    assert not thread.is_alive()
    for end in (client, near, far):
        end.close()
