"""The power button's pipe, which its owner may only read: root alone presses."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from portchain.host.drivers.namespace.power_button import PowerButton

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root presses the button")


def test_a_press_is_read_as_the_kernel_would_say_it(tmp_path: Path) -> None:
    button = PowerButton(tmp_path / "acpi.fifo", os.getuid())
    button.press()
    assert button.unnoticed
    with (tmp_path / "acpi.fifo").open() as events:
        assert events.readline() == "button/power PBTN 00000080 00000000\n"
    assert not button.unnoticed
    button.close()
    assert not (tmp_path / "acpi.fifo").exists()


def test_a_press_does_not_wait_for_a_pipe_that_the_guest_has_filled(tmp_path: Path) -> None:
    button = PowerButton(tmp_path / "acpi.fifo", os.getuid())
    for _ in range(3000):
        button.press()
    assert button.unnoticed
    button.close()


def test_a_new_boot_knows_nothing_of_a_press_before_it(tmp_path: Path) -> None:
    before = PowerButton(tmp_path / "acpi.fifo", os.getuid())
    before.press()
    button = PowerButton(tmp_path / "acpi.fifo", os.getuid())
    assert not button.unnoticed
    assert stat.S_IMODE((tmp_path / "acpi.fifo").stat().st_mode) == 0o400
