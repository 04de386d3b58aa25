"""How ``make test`` closes: what failed, and a line that counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/run-stages"
GOOD = "def test_good(): pass\n"
BAD = """
import pytest

@pytest.fixture
def broken():
    try: {}["key"]
    except KeyError as error: raise OSError("no such thing") from error
def test_needs_it(broken): pass
@pytest.mark.parametrize("size", [1])
def test_bad(size): pytest.fail("".join(f"line {number} {'x' * 400}\\n" for number in range(9)))
def test_other(): pytest.skip("not here")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a stage that runs its tests, one that succeeds and one that fails."""
    test = f"{sys.executable} -m pytest -q -p no:cacheprovider --junitxml=results/checks.xml tests"
    (tmp_path / "Makefile").write_text(f"checks:\n\t{test}\nfine:\n\t@true\nworse:\n\t@exit 3\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_good.py").write_text(GOOD)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return tmp_path


def closing(folder: Path, *stages: str) -> tuple[int, list[str]]:
    """The exit status of a run of these stages, and the lines after the last stage."""
    command = [sys.executable, str(SCRIPT), "results", *stages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.rsplit("=== ", 1)[1].splitlines()[2:]


def test_all_went_well(folder: Path) -> None:
    assert closing(folder, "checks", "fine") == (0, ["2 passed, 0 failed, 0 skipped"])


def test_each_failed_test_is_named_with_the_first_lines_of_why(folder: Path) -> None:
    (folder / "tests/test_bad.py").write_text(BAD)
    status, lines = closing(folder, "checks", "fine")
    assert status == 1
    assert lines[:3] == [
        "FAILED checks: tests/test_bad.py::test_needs_it",
        "    OSError: no such thing",
        "FAILED checks: tests/test_bad.py::test_bad[1]",
    ]
    assert [line[:20] for line in lines[3:8]] == [
        "    Failed: line 0 x",
        *(f"    line {number} xxxxxxxxx" for number in range(1, 5)),
    ]
    assert max(map(len, lines)) == 4 + 300
    assert lines[8:] == ["2 passed, 2 failed, 1 skipped"]


def test_a_module_that_cannot_be_imported_is_named_with_the_error(folder: Path) -> None:
    (folder / "tests/test_bad.py").write_text("import not_there\n")
    assert closing(folder, "checks") == (
        1,
        [
            "FAILED checks: tests/test_bad.py",
            "    ModuleNotFoundError: No module named 'not_there'",
            "0 passed, 1 failed, 0 skipped",
        ],
    )


def test_a_stage_without_a_report_says_its_exit_status(folder: Path) -> None:
    status, lines = closing(folder, "worse", "fine")
    assert status == 1
    assert lines == [
        "FAILED worse",
        "    exit status 2, and no failed test in a report",
        "1 passed, 1 failed, 0 skipped",
    ]
