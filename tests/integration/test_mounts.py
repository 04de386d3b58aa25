"""Mounts that a guest is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# In a mount namespace of its own: a folder as a host with systemd has /run, and a clone of it.
CLONE = """
import sys
from pathlib import Path
from portchain.linux import syscalls
here, there = map(Path, sys.argv[1:])
flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
syscalls.unshare(syscalls.CLONE_NEWNS)
syscalls.mount("none", Path("/"), "", syscalls.MS_REC | syscalls.MS_PRIVATE)
syscalls.mount("tmpfs", here, "tmpfs", flags)
syscalls.clone_mount(here, there, None, syscalls.MOUNT_ATTR_RDONLY)
print(next(line.split()[5] for line in open("/proc/self/mountinfo") if f" {there} " in line))
"""


def test_a_guest_is_not_given_what_the_host_says_of_its_own_mount(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    said = subprocess.run(
        [sys.executable, "-c", CLONE, str(here), str(there)], capture_output=True, text=True, timeout=20, check=True
    )
    assert said.stdout.strip() == "ro,relatime"
