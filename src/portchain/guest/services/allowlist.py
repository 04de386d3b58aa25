"""allowlist: rules for dns-forwarder and http-proxy from one file, and answers to those who ask for anything else."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path

from ..egress import REFUSING_DNS, REFUSING_PROXY, Egress
from .refusal import refuse_dns, refuse_http

RULES = Path("/etc/portchain/policy/egress.json")
_OPTIONS = Path("/etc/portchain/guest.json")
_FOLDER = Path("/run/egress")
# Where the file cannot be read.
_CLOSED = Egress(allowlist=("docker.internal",))
_LOOK_SECONDS = 0.5
_CLIENT_SECONDS = 10
_SILENCE_SECONDS = 60.0
_MOST_SAID = 1000
_HEAD_BYTES = 65536


class Rules:
    """The rules as the file has them now."""

    def __init__(self, rules: Path = RULES, options: Path = _OPTIONS, folder: Path = _FOLDER) -> None:
        self._rules = rules
        self._folder = folder
        self._network = json.loads(options.read_text())
        self._seen: object = None
        self._said: dict[str, float] = {}
        self.egress = _CLOSED

    def look(self) -> None:
        """Read the file if it is another than before, and tell those who go by it."""
        try:
            found = self._rules.stat()
            if self._seen == (found.st_ino, found.st_mtime_ns):
                return
            self._seen = found.st_ino, found.st_mtime_ns
            self.egress = Egress.load(self._rules.read_text())
        except (OSError, TypeError, ValueError) as error:
            self.egress = _CLOSED
            log(f"nothing outside is allowed, for {self._rules} cannot be read: {error}")
        # They read as nobody; the proxy's file may have a password, and its group is root.
        if write(self._folder / "dns-servers", self.egress.dns_servers(self._network["gateway"]), 0o644):
            tell("dns-forwarder", signal.SIGHUP)
        if write(self._folder / "tinyproxy.conf", self.egress.proxy_rules(self._network["subnet"]), 0o640):
            tell("http-proxy", signal.SIGUSR1)

    def refuse(self, name: str) -> str:
        """Why ``name`` is refused; logged as well, once in `_SILENCE_SECONDS`."""
        sentence = self.egress.refusal(name)
        now = time.monotonic()
        if now - self._said.get(sentence, -_SILENCE_SECONDS) >= _SILENCE_SECONDS:
            self._said = {one: when for one, when in self._said.items() if now - when < _SILENCE_SECONDS}
            if len(self._said) < _MOST_SAID:
                self._said[sentence] = now
                log(sentence)
        return sentence


def log(text: str) -> None:
    """One line in the service's log."""
    print(text, file=sys.stderr, flush=True)


def write(path: Path, text: str, mode: int) -> bool:
    """Have ``path`` hold ``text``; returns whether it did not already."""
    if path.exists() and path.read_text() == text:
        return False
    half = path.with_suffix(".new")
    half.touch(mode)
    half.write_text(text)
    half.rename(path)
    return True


def tell(service: str, number: signal.Signals) -> None:
    """Signal the processes of ``service``."""
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if group.read_text().splitlines()[0].endswith(f"/services/{service}"):
                os.kill(int(group.parent.name), number)
        except (OSError, IndexError):
            continue


class HttpHandler(socketserver.StreamRequestHandler):
    """A client of the proxy."""

    timeout = _CLIENT_SECONDS
    server: Server

    def handle(self) -> None:
        """Answer one request."""
        first = self.rfile.readline(_HEAD_BYTES)
        while self.rfile.readline(_HEAD_BYTES).strip():
            pass
        self.wfile.write(refuse_http(first, self.server.rules.refuse))


class DnsHandler(socketserver.StreamRequestHandler):
    """A name server that asks over TCP."""

    timeout = _CLIENT_SECONDS
    server: Server

    def handle(self) -> None:
        """Answer queries until the client is done."""
        while length := self.rfile.read(2):
            query = self.rfile.read(int.from_bytes(length, "big"))
            answer = refuse_dns(query, self.server.rules.refuse)
            self.wfile.write(len(answer).to_bytes(2, "big") + answer)


class DatagramHandler(socketserver.BaseRequestHandler):
    """A name server that asks over UDP."""

    server: DatagramServer

    def handle(self) -> None:
        """Answer one query."""
        query, sock = self.request
        sock.sendto(refuse_dns(query, self.server.rules.refuse), self.client_address)


class _Ruled(socketserver.BaseServer):
    """A server that goes by `Rules`; of a client that is too slow or sends garbage it keeps a line in the log."""

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler], rules: Rules) -> None:
        super().__init__(address, handler)
        self.rules = rules

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what was wrong."""
        log(f"a client is not answered: {sys.exc_info()[1]}")


class Server(_Ruled, socketserver.ThreadingTCPServer):
    """Serves each client in a thread."""

    allow_reuse_address = True
    daemon_threads = True


class DatagramServer(_Ruled, socketserver.UDPServer):
    """Answers one query after the other."""


def main() -> int:
    """Serve for as long as the guest runs."""
    rules = Rules()
    rules.look()
    servers = (
        Server(REFUSING_PROXY, HttpHandler, rules),
        Server(REFUSING_DNS, DnsHandler, rules),
        DatagramServer(REFUSING_DNS, DatagramHandler, rules),
    )
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        time.sleep(_LOOK_SECONDS)
        rules.look()


if __name__ == "__main__":
    sys.exit(main())
