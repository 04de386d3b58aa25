"""The browser, and what the tests look at with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import browser, page

__all__ = ("browser", "page")


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the report of each drawn machine is, by its name."""
    from portchain.trace.judge.chains import trace_all  # noqa: PLC0415
    from portchain.trace.render import report_page  # noqa: PLC0415
    from support.machines import big, hostile, seed  # noqa: PLC0415

    folder: Path = tmp_path_factory.mktemp("reports")
    places = {}
    for name, machine in (("seed", seed()), ("big", big()), ("hostile", hostile())):
        file = folder / f"{name}.html"
        file.write_text(report_page.page(machine, trace_all(machine)), encoding="utf-8")
        places[name] = file.as_uri()
    return places
