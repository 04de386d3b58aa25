"""The service binfmt where the guest has no binfmt_misc of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROGRAM = Path(__file__).parents[4] / "roles/guest_services/services/binfmt/files/usr/bin/binfmt"


def test_it_says_so_and_waits_to_be_ended() -> None:
    with subprocess.Popen(["/bin/sh", str(PROGRAM)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        said = program.stdout.readline()
        assert said.startswith("guest: no binfmt_misc of its own; Linux 6.7 or later")
        assert program.poll() is None
        program.terminate()
        assert program.wait(5) == 0
