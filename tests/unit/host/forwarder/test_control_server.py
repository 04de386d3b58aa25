"""The clients of the control interface."""

from __future__ import annotations

import os
import socket
from http import HTTPStatus
from pathlib import Path

from portchain.host.forwarder.control import MAX_CLIENTS, ControlServer
from portchain.net.listening import open_unix_listener
from support.waiting import eventually

REQUEST = b"GET /status HTTP/1.1\r\nConnection: close\r\n\r\n"


def test_clients_beyond_the_most_are_closed_until_one_leaves(tmp_path: Path) -> None:
    listener = open_unix_listener(tmp_path / "control.sock", os.getuid())
    server = ControlServer(listener, lambda *_: (HTTPStatus.OK, "fine"))

    def connected() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(str(tmp_path / "control.sock"))
        server.handle_request()
        return client

    def served() -> bool:
        with connected() as client:
            try:
                client.sendall(REQUEST)
                return client.recv(4096).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False

    with listener:
        clients = [connected() for _ in range(MAX_CLIENTS)]
        assert not served()
        clients.pop().close()
        eventually(served, "room for a client")
        for client in clients:
            client.close()
