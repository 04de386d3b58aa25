"""kmsg: what the kernel says, or the guest's console where the kernel is the host's."""

from __future__ import annotations

import uuid
from pathlib import Path

from testinfra.host import Host

from support.waiting import eventually

LOG = "/var/log/kmsg.log"


def test_it_says_whose_log_it_shows(host: Host) -> None:
    assert (
        "guest: the kernel's log is the host's and denied here; this is the guest's console"
        in host.file(LOG).content_string
    )


def test_it_shows_what_is_printed_on_the_console(host: Host, guest_name: str) -> None:
    said = f"said by init {uuid.uuid4()}"
    host.run_expect([0], f"echo {said} >/proc/1/fd/1")
    eventually(lambda: said in host.file(LOG).content_string, f"{said!r} in {LOG}")
    on_the_host = Path(f"/var/log/portchain/{guest_name}/console.log")
    eventually(lambda: said in on_the_host.read_text(), f"{said!r} in {on_the_host}")


def test_it_goes_on_after_it_was_killed(host: Host, guest_name: str) -> None:
    host.run_expect([0], "ctr -n services.linuxkit task kill -s SIGKILL kmsg")
    test_it_shows_what_is_printed_on_the_console(host, guest_name)
