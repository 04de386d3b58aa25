"""The engine's API through the proxy beside the engine's own socket, in one run: images both ways, and small requests.

Usage: python tests/bench/proxy.py [ROUNDS]
The engine is a process that sends and takes in bytes in chunks of 32 KiB, as dockerd does. Rounds alternate between the
ways; medians, and the proxy's share of the direct way's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time

from portchain.host.docker_api.proxy import Proxy, dial_unix

SIZE = 512 * 1024 * 1024
SECONDS = 1.0
CHUNK = 32 * 1024
PIECE = b"%x\r\n%b\r\n" % (CHUNK, bytes(CHUNK))
END = b"0\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def listen(path: str) -> socket.socket:
    """A listener."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    return listener


def engine(listener: socket.socket) -> None:
    """GET /save sends SIZE bytes, POST /load takes in what comes, anything else has a short answer."""
    while True:
        threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()


def converse(client: socket.socket) -> None:
    """One connection."""
    buffer = bytearray(CHUNK)
    with client:
        while head := client.recv(65536):
            if head.startswith(b"GET /save"):
                client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(SIZE // CHUNK):
                    client.sendall(PIECE)
                client.sendall(END)
            else:
                if head.startswith(b"POST /load"):
                    while bytes(buffer[: client.recv_into(buffer)][-len(END) :]) != END:
                        pass
                client.sendall(REPLY)


def proxy(listener: socket.socket, path: str) -> None:
    """The proxy, passing everything on."""

    async def main() -> None:
        Proxy(lambda: dial_unix(path)).serve(listener, lambda _method, _path: None)
        await asyncio.Event().wait()

    asyncio.run(main())


def connect(path: str) -> socket.socket:
    """A client."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def save(path: str) -> float:
    """Mbyte a second from the engine."""
    buffer, tail, start = bytearray(256 * 1024), b"", time.monotonic()
    with connect(path) as client:
        client.sendall(b"GET /save HTTP/1.1\r\nHost: docker\r\n\r\n")
        while not tail.endswith(END):
            size = client.recv_into(buffer)
            tail = (tail + bytes(buffer[max(0, size - len(END)) : size]))[-len(END) :]
    return SIZE / 1e6 / (time.monotonic() - start)


def load(path: str) -> float:
    """Mbyte a second to the engine."""
    start = time.monotonic()
    with connect(path) as client:
        client.sendall(b"POST /load HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(SIZE // CHUNK):
            client.sendall(PIECE)
        client.sendall(END)
        client.recv(len(REPLY), socket.MSG_WAITALL)
    return SIZE / 1e6 / (time.monotonic() - start)


def keep_alive(path: str) -> float:
    """Requests a second on one connection."""
    done, end = 0, time.monotonic() + SECONDS
    with connect(path) as client:
        while time.monotonic() < end:
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            client.recv(len(REPLY), socket.MSG_WAITALL)
            done += 1
    return done / SECONDS


def new_connections(path: str) -> float:
    """Connections a second, one request on each."""
    done, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        with connect(path) as client:
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
            client.recv(len(REPLY), socket.MSG_WAITALL)
        done += 1
    return done / SECONDS


MEASURES = {
    "save, MB/s": save,
    "load, MB/s": load,
    "keep-alive, requests/s": keep_alive,
    "new connections/s": new_connections,
}


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        ways = {"direct": f"{folder}/engine.sock", "proxy": f"{folder}/docker.sock"}
        parts = [
            multiprocessing.Process(target=engine, args=(listen(ways["direct"]),), daemon=True),
            multiprocessing.Process(target=proxy, args=(listen(ways["proxy"]), ways["direct"]), daemon=True),
        ]
        for part in parts:
            part.start()
        for name, measure in MEASURES.items():
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, path in ways.items():
                    found[way].append(measure(path))
            direct, through = (statistics.median(figures) for figures in found.values())
            print(f"{name:24} direct {direct:9.0f}   proxy {through:9.0f}   {through / direct:.2f}")
        for part in parts:
            part.kill()


if __name__ == "__main__":
    main()
