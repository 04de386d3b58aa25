"""sntpc: asks the gateway for the time every 30 s."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from testinfra.host import Host

from support.waiting import eventually

LOG = "/var/log/sntpc.log"
ANSWER = re.compile(
    r"^(?P<when>\S+) 192\.168\.65\.2: offset (?P<offset>[-+]?[\d.e-]+) s, delay (?P<delay>[\d.e-]+) s$", re.MULTILINE
)


def answers(host: Host) -> list[re.Match[str]]:
    return list(ANSWER.finditer(host.file(LOG).content_string))


def test_offset_and_delay_are_logged(host: Host) -> None:
    found = eventually(lambda: answers(host), f"an answer in {LOG}", 40)[-1]
    # The gateway's clock is the very one that the guest reads.
    assert abs(float(found["offset"])) < 0.05
    assert 0 < float(found["delay"]) < 0.05


def test_it_asks_every_30_s(host: Host) -> None:
    def last_two() -> list[datetime]:
        found = answers(host)[-2:]
        return [datetime.fromisoformat(one["when"]) for one in found] if len(found) == 2 else []

    earlier, later = eventually(last_two, f"two answers in {LOG}", 40)
    assert 29 < (later - earlier).total_seconds() < 32


def test_the_clock_is_only_watched(host: Host) -> None:
    assert "guest: no right to set the clock, for it is the host's: it is watched only" in host.file(LOG).content_string
    chronyd = host.process.get(comm="chronyd")
    assert "-x" in chronyd.args.split()
    assert re.search(r"CapEff:\s0{16}\n", host.check_output(f"cat /proc/{chronyd.pid}/status"))


def test_the_gateway_serves_time_in_its_own_network(machine: Host, state: dict[str, Any]) -> None:
    server = machine.process.get(comm="chronyd", ppid=state["supervisor"])
    assert server.user == "nobody"
    networks = [machine.check_output(f"readlink /proc/{pid}/ns/net") for pid in (server.pid, state["supervisor"])]
    assert networks[0] != networks[1]
