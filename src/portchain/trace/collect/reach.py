"""Check whether a connection to a host port reaches a server at the other end of its chain."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ...ports.forward import Endpoint, Forward
from ...ports.syntax import loopback_of

# A dead end answers with a reset well within this time; a server speaks first or waits for its client.
_SILENCE = 0.4
_RETRY = 0.25


@dataclass(frozen=True)
class ReachResult:
    """The result of a connection to ``forward``; ``problem`` is empty where a server was reached."""

    forward: Forward
    problem: str


def reach(listen: Endpoint, timeout: float, silence: float = _SILENCE) -> str:
    """Connect to ``listen`` (TCP) from the host; return the problem, or an empty string.

    A server is reached that sends something, or does not end the connection within ``silence`` seconds.
    """
    address = loopback_of(listen.address)
    try:
        with socket.create_connection((address, listen.port), timeout) as connection:
            connection.settimeout(silence)
            return "" if connection.recv(1) else "the server closed the connection at once"
    except TimeoutError:
        return ""
    except ConnectionResetError:
        return "the connection was reset: no server answers at the target"
    except OSError as error:
        return f"the host does not answer: {error.strerror or error}"


def reach_until(forward: Forward, deadline: float) -> ReachResult:
    """Connect again and again until the chain is whole or ``deadline``, in time.monotonic()'s seconds, has passed."""
    while True:
        problem = reach(forward.listen, max(0.1, deadline - time.monotonic()))
        if not problem or time.monotonic() > deadline:
            return ReachResult(forward, problem)
        time.sleep(_RETRY)


def reach_all(forwards: list[Forward], timeout: float) -> list[ReachResult]:
    """Connect to every TCP forward at once, each for at most ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    tcp_forwards = [forward for forward in forwards if forward.listen.protocol == "tcp"]
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(tcp_forwards)))) as pool:
        return list(pool.map(lambda forward: reach_until(forward, deadline), tcp_forwards))
