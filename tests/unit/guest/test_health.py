from __future__ import annotations

import pytest

from portchain.guest.health import judge, parse_tasks


@pytest.mark.parametrize(
    ("pid", "starts", "judged"),
    [
        (7, "1 100.0", ("running", 0, 900.0)),
        (7, "4 990.0 980.0 970.0 100.0", ("running", 3, 10.0)),
        (7, "4 999.0 980.0 970.0 960.0", ("crashing", 3, 1.0)),
        (None, "9 999.0 998.0 997.0 996.0 995.0", ("crashing", 8, 1.0)),
        (None, "2 100.0 50.0", ("restarting", 1, 900.0)),
        (None, "", ("failed", 0, None)),
    ],
)
def test_a_service_is_judged_by_its_starts(pid: int | None, starts: str, judged: tuple[str, int, float | None]) -> None:
    assert judge(pid, starts, uptime=1000.0) == judged


def test_tasks_that_ended_have_no_pid() -> None:
    assert parse_tasks("TASK   PID   STATUS\na 12 RUNNING\nb 0 STOPPED\n") == {"a": 12}
