"""Show one line per play, with its time, as ``portchain up`` and ``down`` do."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible.plugins.callback import CallbackBase
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from portchain.trace.render.text_width import plain

DOCUMENTATION = r"""
name: stages
type: stdout
short_description: Show one line per play, with its time
description:
  - Shows each play as a stage, with its time and the number of tasks that changed something.
  - On a terminal the current stage shows its task and its time. Failures are shown at the end.
version_added: "0.1.0"
author: portchain developers (@portchain)
"""


_MAX_LINE = 2000  # characters
_MAX_LINES = 40
_WIDTH = 36  # of a stage's name


class Failure(NamedTuple):
    """A task of a stage that failed, and why."""

    stage: str
    task: str
    reason: str


def reason(told: Mapping[str, Any]) -> str:
    """Return why a task or items of its loop failed, without control characters and cut to fit a screen."""
    lines = [plain(line, _MAX_LINE) for text in _reasons(told) for line in text.strip().splitlines()]
    left = len(lines) - _MAX_LINES
    return "\n".join([*lines[:_MAX_LINES], *([f"… {left} more lines"] if left > 0 else [])])


def _reasons(told: Mapping[str, Any]) -> Iterator[str]:
    failed = [one for one in told.get("results") or () if one.get("failed") or one.get("unreachable")]
    for one in failed:
        yield f"{one.get('_ansible_item_label', one.get('item'))}:"
        yield from _reasons(one)
    if not failed:
        yield str(told.get("censored") or told.get("msg") or "it failed and says nothing")
        yield str(told.get("stderr") or told.get("module_stderr") or "")


class CallbackModule(CallbackBase):
    """Show a playbook's progress as stages."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "stages"

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._began = self._stage_began = time.monotonic()
        self._live: Live | None = None
        self._stage = self._task = ""
        self._changed = 0
        self._failed: dict[str, Failure] = {}
        self._broken: set[str] = set()
        atexit.register(self._interrupted)

    def __rich__(self) -> Spinner:
        """Render the current stage."""
        passed = time.monotonic() - self._stage_began
        text = f"{self._stage:{_WIDTH}} {passed:6.1f} s  {self._task}"
        return Spinner("dots", Text(text, overflow="ellipsis", no_wrap=True))

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """End the stage before and begin another."""
        self._end_stage()
        self._stage, self._task, self._changed = plain(play.get_name().strip()), "", 0
        self._broken.clear()
        self._stage_began = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=8, transient=True)
            self._live.start()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Take over the name of the task."""
        self._task = _name(task)

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Forget the failure of a host that goes on, for it was rescued."""
        self._broken.discard(host.get_name())

    def v2_runner_retry(self, result: Any) -> None:
        """Show how many times the task was tried."""
        self._task = f"{_name(result.task)}, tried {result.result.get('attempts')} times"

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count a change, and show the task's warnings."""
        self._handle_warnings(result.result)
        self._changed += bool(result.result.get("changed"))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Keep the failure for the end, unless a later task rescues it."""
        if not ignore_errors:
            self._keep(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Keep the failure for the end."""
        self._keep(result)

    def _keep(self, result: Any) -> None:
        self._handle_warnings(result.result)
        host = result.host.get_name()
        self._failed[host] = Failure(self._stage, _name(result.task), reason(result.result))
        self._broken.add(host)

    def _end_stage(self, told: str = "") -> None:
        if self._live:
            self._live.stop()
            self._live = None
        if not self._stage:
            return
        passed = time.monotonic() - self._stage_began
        mark = Text("✗", style="bold red") if self._broken or told else Text("✓", style="green")
        told = told or (f"{self._changed} changed" if self._changed else "")
        self._console.print(mark, Text(f"{self._stage:{_WIDTH}} {passed:6.1f} s  {told}".rstrip()))
        self._stage = ""

    def _interrupted(self) -> None:
        """End without statistics, after Ctrl-C, and give the terminal its cursor back."""
        self._end_stage("did not end")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Show the failures, the number of tasks and the total time."""
        failed = {h: one for h, one in self._failed.items() if stats.failures.get(h) or stats.dark.get(h)}
        self._broken = {host for host, one in failed.items() if one.stage == self._stage}
        self._end_stage()
        for host, one in sorted(failed.items()):
            self._console.print(Text(f"\n{host}: {one.task}", style="bold red"))
            self._console.print(Text(one.reason))
        if failed:
            self._console.print(Text("\n-v shows all that Ansible says", style="dim"))
        passed = time.monotonic() - self._began
        counts = f"{sum(stats.ok.values())} ok, {sum(stats.changed.values())} changed"
        self._console.print(Text(f"{'':{_WIDTH + 2}} {passed:6.1f} s in all: {counts}", style="dim"))


def _name(task: Any) -> str:
    return plain(task.get_name().rpartition(" : ")[2])
