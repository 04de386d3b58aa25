"""binfmt: programs of another machine run in the guest and its containers; the host knows nothing of them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import struct
import tarfile

import docker
import pytest
from testinfra.host import Host

from support.waiting import eventually

RULES = "/proc/sys/fs/binfmt_misc"
# uname(&after); after.machine[7] = 10; write(1, after.machine, 8); exit(0)
CODE = (
    *(0x10000000 | 13 << 5, 0xD2801408, 0xD4000001),  # adr x0, after; mov x8, 160; svc 0
    *(
        0x10000001 | (10 * 4 + 260) // 4 << 5,
        0x52800143,
        0x39001C23,
    ),  # adr x1, after + 260; mov w3, 10; strb w3, [x1, 7]
    *(0xD2800020, 0xD2800102, 0xD2800808, 0xD4000001),  # mov x0, 1; mov x2, 8; mov x8, 64; svc 0
    *(0xD2800000, 0xD2800BA8, 0xD4000001),  # mov x0, 0; mov x8, 93; svc 0
)


def arm64_program() -> bytes:
    """A static program for Linux on arm64 that prints the machine it finds itself on."""
    code, start = struct.pack(f"<{len(CODE)}I", *CODE), 0x400000
    size = 64 + 56 + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 7, 0, start, start, size, size + 512, 4096) + code


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def arm64_image(reference: str) -> bytes:
    """An archive for docker load."""
    layer = tarred({"machine": arm64_program()})
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Cmd": ["/machine"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    contents = {"config.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    return tarred({**{name: text.encode() for name, text in contents.items()}, "layer.tar": layer})


pytestmark = pytest.mark.skipif(platform.machine() == "aarch64", reason="arm64 is no other machine here")


@pytest.fixture(scope="module")
def program(host: Host) -> str:
    host.run_expect([0], f"base64 -d >/tmp/machine <<.\n{base64.b64encode(arm64_program()).decode()}\n.\n")
    host.run_expect([0], "chmod +x /tmp/machine")
    return "/tmp/machine"


def test_the_guest_runs_an_arm64_program(host: Host, program: str) -> None:
    assert host.check_output(program) == "aarch64"


def test_a_container_of_an_arm64_image_runs(engine: docker.DockerClient) -> None:
    engine.images.load(arm64_image("test/arm64:1"))
    assert engine.images.get("test/arm64:1").attrs["Architecture"] == "arm64"
    assert engine.containers.run("test/arm64:1", remove=True) == b"aarch64\n"


def test_the_hosts_own_rules_stay_as_they_are(host: Host, machine: Host, program: str) -> None:
    look = f"unshare --mount sh -c 'mount -t binfmt_misc none {RULES} && grep -r --exclude=register . {RULES}'"
    before = machine.check_output(look)
    host.run_expect([0], f"echo -1 >{RULES}/qemu-aarch64")
    assert host.run(program).rc != 0
    host.run_expect([0], "ctr -n services.linuxkit task kill -s SIGKILL binfmt")
    eventually(lambda: host.run(program).stdout == "aarch64\n", "the service binfmt to be back", 6)
    assert machine.check_output(look) == before
