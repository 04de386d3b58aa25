from __future__ import annotations

import getpass
import importlib.util
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from types import ModuleType

import pytest

import portchain
import portchain.http.blocking_client

LIBRARY = Path(__file__).parents[3] / "library"
FOLDER = {"client/ca.pem": b"authority", "client/key.pem": b"secret", "client/deeper/other": b"no"}


@pytest.fixture(scope="module")
def module() -> ModuleType:
    sys.modules["ansible.module_utils.portchain"] = portchain
    sys.modules["ansible.module_utils.portchain.http.blocking_client"] = portchain.http.blocking_client
    spec = importlib.util.spec_from_file_location("container_files", LIBRARY / "container_files.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Engine(BaseHTTPRequestHandler):
    """Answers as the engine does when it is asked for a folder of a container."""

    def do_GET(self) -> None:
        known = self.path == "/containers/minikube/archive?path=%2Fvar%2Flib%2Fclient"
        self.send_response(200 if known else 500 if "broken" in self.path else 404)
        self.end_headers()
        self.wfile.write(self.archive() if known else b'{"message": "trouble"}')

    @staticmethod
    def archive() -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            folder = tarfile.TarInfo("client/")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name, content in FOLDER.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "docker.sock")
    with UnixStreamServer(path, Engine) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_reads_the_files_right_in_the_folder(module: ModuleType, engine: str) -> None:
    files = module.container_files(engine, "minikube", "/var/lib/client")
    assert files == {"ca.pem": b"authority", "key.pem": b"secret"}


def test_tells_a_missing_container_from_an_engine_in_trouble(module: ModuleType, engine: str) -> None:
    assert module.container_files(engine, "other", "/var/lib/client") is None
    with pytest.raises(OSError, match=r"500 .*trouble"):
        module.container_files(engine, "broken", "/var/lib/client")


def test_written_file_is_its_owners_alone_and_differs_no_more(module: ModuleType, tmp_path: Path) -> None:
    file, owner = tmp_path / "key.pem", getpass.getuser()
    assert module.differs(file, b"secret", owner)
    module.write(file, b"secret", owner)
    assert not module.differs(file, b"secret", owner)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("change", ["content", "mode", "owner"])
def test_change_is_seen(module: ModuleType, tmp_path: Path, change: str) -> None:
    file, owner = tmp_path / "key.pem", getpass.getuser()
    module.write(file, b"secret", owner)
    if change == "mode":
        file.chmod(0o644)
    content = b"other" if change == "content" else b"secret"
    assert module.differs(file, content, "nobody" if change == "owner" else owner)
