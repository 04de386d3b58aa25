"""allowlist: write the rules of dns-forwarder and http-proxy from one file, and answer clients that are refused."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path

from ....linux import atomic_files
from ....protocol.egress import REFUSING_DNS, REFUSING_PROXY, Egress
from .refusal import refuse_dns, refuse_http

RULES = Path("/etc/portchain/policy/egress.json")
_OPTIONS = Path("/etc/portchain/guest.json")
_FOLDER = Path("/run/egress")
# What is allowed while the file cannot be read.
_CLOSED = Egress(allowlist=("docker.internal",))
_POLL_SECONDS = 0.5
_CLIENT_SECONDS = 10
_REPEAT_SECONDS = 60.0  # between two log lines about the same refusal
_MAX_REMEMBERED = 1000
_HEAD_BYTES = 65536


class EgressRules:
    """The rules in the file, read again whenever it changes."""

    def __init__(self, rules: Path = RULES, options: Path = _OPTIONS, folder: Path = _FOLDER) -> None:
        self._rules = rules
        self._folder = folder
        self._network = json.loads(options.read_text())
        self._version: object = None
        self._logged: dict[str, float] = {}
        self.egress = _CLOSED

    def reload(self) -> None:
        """Read the file if it has changed, and tell dns-forwarder and http-proxy of their new rules."""
        try:
            status = self._rules.stat()
            if self._version == (status.st_ino, status.st_mtime_ns):
                return
            self._version = status.st_ino, status.st_mtime_ns
            self.egress = Egress.load(self._rules.read_text())
        except (OSError, TypeError, ValueError) as error:
            self.egress = _CLOSED
            log(f"nothing outside is allowed, for {self._rules} cannot be read: {error}")
        # dns-forwarder reads as nobody. The proxy's file may hold a password; the proxy's group is root.
        if atomic_files.update(self._folder / "dns-servers", self.egress.dns_servers(self._network["gateway"]), 0o644):
            signal_service("dns-forwarder", signal.SIGHUP)
        if atomic_files.update(
            self._folder / "tinyproxy.conf", self.egress.proxy_rules(self._network["subnet"]), 0o640
        ):
            signal_service("http-proxy", signal.SIGUSR1)

    def refuse(self, name: str) -> str:
        """Return why ``name`` is refused; log it, but the same sentence only once in `_REPEAT_SECONDS`."""
        sentence = self.egress.refusal(name)
        now = time.monotonic()
        if now - self._logged.get(sentence, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._logged = {text: at for text, at in self._logged.items() if now - at < _REPEAT_SECONDS}
            if len(self._logged) < _MAX_REMEMBERED:
                self._logged[sentence] = now
                log(sentence)
        return sentence


def log(text: str) -> None:
    """Write one line to the service's log."""
    print(text, file=sys.stderr, flush=True)


def signal_service(service: str, number: signal.Signals) -> None:
    """Send a signal to the processes of ``service``."""
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if group.read_text().splitlines()[0].endswith(f"/services/{service}"):
                os.kill(int(group.parent.name), number)
        except (OSError, IndexError):
            continue


class HttpHandler(socketserver.StreamRequestHandler):
    """Answers a refused client of the proxy."""

    timeout = _CLIENT_SECONDS
    server: TcpServer

    def handle(self) -> None:
        """Answer one request."""
        first = self.rfile.readline(_HEAD_BYTES)
        while self.rfile.readline(_HEAD_BYTES).strip():
            pass
        self.wfile.write(refuse_http(first, self.server.rules.refuse))


class DnsHandler(socketserver.StreamRequestHandler):
    """Answers a name server that asks over TCP."""

    timeout = _CLIENT_SECONDS
    server: TcpServer

    def handle(self) -> None:
        """Answer queries until the client is done."""
        while length := self.rfile.read(2):
            query = self.rfile.read(int.from_bytes(length, "big"))
            answer = refuse_dns(query, self.server.rules.refuse)
            self.wfile.write(len(answer).to_bytes(2, "big") + answer)


class DatagramHandler(socketserver.BaseRequestHandler):
    """Answers a name server that asks over UDP."""

    server: DatagramServer

    def handle(self) -> None:
        """Answer one query."""
        query, sock = self.request
        sock.sendto(refuse_dns(query, self.server.rules.refuse), self.client_address)


class _RefusingServer(socketserver.BaseServer):
    """A server that answers by `EgressRules`, and logs clients that are too slow or send garbage."""

    def __init__(
        self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler], rules: EgressRules
    ) -> None:
        super().__init__(address, handler)
        self.rules = rules

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what was wrong with the client."""
        log(f"a client is not answered: {sys.exc_info()[1]}")


class TcpServer(_RefusingServer, socketserver.ThreadingTCPServer):
    """Serves each client in a thread."""

    allow_reuse_address = True
    daemon_threads = True


class DatagramServer(_RefusingServer, socketserver.UDPServer):
    """Answers one query after the other."""


def main() -> int:
    """Serve for as long as the guest runs."""
    rules = EgressRules()
    rules.reload()
    servers = (
        TcpServer(REFUSING_PROXY, HttpHandler, rules),
        TcpServer(REFUSING_DNS, DnsHandler, rules),
        DatagramServer(REFUSING_DNS, DatagramHandler, rules),
    )
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        time.sleep(_POLL_SECONDS)
        rules.reload()


if __name__ == "__main__":
    sys.exit(main())
