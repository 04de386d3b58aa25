#!/usr/bin/env python3
"""Make the pictures in docs/: the report of the seed's machine and of one with sixty ports."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "unit")]

from chain.draw.machines import big, seed  # noqa: E402

from portchain.chain.draw import page, svg  # noqa: E402
from portchain.chain.walk import trace_all  # noqa: E402

# Name, machine, colour scheme, height.
PICTURES = (
    ("report-seed-light", seed(), "light", 620),
    ("report-60-light", big(), "light", 1500),
    ("report-60-dark", big(), "dark", 1500),
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def main(docs: Path) -> None:
    """Write them."""
    (docs / "report-seed.svg").write_text(svg.picture(seed(), trace_all(seed())), encoding="utf-8")
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, machine, scheme, height in PICTURES:
            file = Path(folder, "report.html")
            file.write_text(page.page(machine, trace_all(machine)), encoding="utf-8")
            view = browser.new_page(viewport={"width": 1280, "height": height}, color_scheme=scheme)
            view.goto(file.as_uri())
            view.screenshot(path=docs / f"{name}.png")
            view.close()
        browser.close()


if __name__ == "__main__":
    main(ROOT / "docs")
