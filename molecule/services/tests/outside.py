"""What is outside a guest, on the host's loopback: a registry with one image, and a proxy that leads to it."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import socket
import socketserver
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_SECONDS = 10


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image() -> tuple[bytes, dict[str, bytes]]:
    """The manifest of an image of one file, and its blobs by digest."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    content = layer.getvalue()
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
    }
    config = json.dumps(settings).encode()
    parts = [
        {"mediaType": f"application/vnd.docker.{kind}", "size": len(blob), "digest": digest(blob)}
        for kind, blob in (("container.image.v1+json", config), ("image.rootfs.diff.tar", content))
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
    return json.dumps(manifest).encode(), {digest(blob): blob for blob in (config, content)}


class Registry(http.server.BaseHTTPRequestHandler):
    """Answers a pull of any name and tag with the one image."""

    manifest, blobs = image()

    def do_GET(self) -> None:
        place = self.path.split("/")[-2:]
        if self.path == "/v2/":
            self.reply(b"{}", "application/json")
        elif place[0] == "manifests":
            self.reply(self.manifest, MANIFEST)
        elif place[0] == "blobs" and place[1] in self.blobs:
            self.reply(self.blobs[place[1]], "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - the base class looks for it

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Proxy(socketserver.ThreadingTCPServer):
    """Leads every CONNECT to ``target``, and remembers what was asked for."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.target = target
        self.asked: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class ProxyHandler(socketserver.StreamRequestHandler):
    timeout = _SECONDS
    server: Proxy

    def handle(self) -> None:
        method, place, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(f"{method} {place}")
        with socket.create_connection(("127.0.0.1", self.server.target), _SECONDS) as target:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=copy, args=(target, self.request), daemon=True)
            back.start()
            copy(self.request, target)
            back.join(_SECONDS)


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_SECONDS)


def certificate(folder: Path, names: list[str]) -> Path:
    """A file with a certificate of its own for ``names``, and one beside it, ``key.pem``, with its key."""
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request += [
        "-days",
        "2",
        "-subj",
        "/CN=registry",
        "-addext",
        "subjectAltName=" + ",".join(f"DNS:{n}" for n in names),
    ]
    request += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run(request, check=True, capture_output=True, timeout=_SECONDS)
    return folder / "ca.pem"


def registry(ca: Path) -> http.server.ThreadingHTTPServer:
    """The registry, over TLS with ``ca`` of `certificate`, not serving yet."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, ca.with_name("key.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server
