"""The services together."""

from __future__ import annotations

from testinfra.host import Host


def test_every_service_runs(host: Host) -> None:
    listed = host.check_output("ctr -n services.linuxkit tasks list").splitlines()[1:]
    assert {line.split()[2] for line in listed} == {"RUNNING"}
