"""One line a play, with its time: what ``portchain up`` and ``down`` show of a playbook."""

from __future__ import annotations

import sys
import time
from typing import Any

from ansible.plugins.callback import CallbackBase
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

DOCUMENTATION = r"""
name: stages
type: stdout
short_description: One line a play, with its time
description:
  - Shows each play as a stage, with how long it took and how many tasks changed something.
  - On a terminal the stage that is under way shows its task and its time. What went wrong is told at the end.
version_added: "0.1.0"
author: portchain developers (@portchain)
"""


class CallbackModule(CallbackBase):
    """Listens to a playbook."""

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
        self._failed: dict[str, tuple[str, str]] = {}
        self._broken = False

    def __rich__(self) -> Spinner:
        """The stage that is under way."""
        passed = time.monotonic() - self._stage_began
        return Spinner(
            "dots", Text(f"{self._stage:32} {passed:6.1f} s  {self._task}", overflow="ellipsis", no_wrap=True)
        )

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A stage begins, and the one before is over."""
        self._end_stage()
        self._stage, self._task, self._changed, self._broken = play.get_name().strip(), "", 0, False
        self._stage_began = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=8, transient=True)
            self._live.start()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """What the stage is at."""
        self._task = task.get_name().rpartition(" : ")[2]

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Nothing to show."""

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count what changed."""
        self._changed += bool(result.result.get("changed"))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Keep what is told at the end, unless a later task puts it right."""
        if not ignore_errors:
            self._keep(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The same."""
        self._keep(result)

    def _keep(self, result: Any) -> None:
        told = result.result
        message = str(told.get("msg") or told.get("stderr") or told.get("exception") or told)
        self._failed[result.host.get_name()] = (result.task.get_name().rpartition(" : ")[2], message)
        self._broken = True

    def _end_stage(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None
        if not self._stage:
            return
        passed = time.monotonic() - self._stage_began
        mark = Text("✗", style="bold red") if self._broken else Text("✓", style="green")
        changed = f"  {self._changed} changed" if self._changed else ""
        self._console.print(mark, Text(f"{self._stage:32} {passed:6.1f} s{changed}"))
        self._stage = ""

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end: what went wrong, and the time of all."""
        hosts = {host for host in self._failed if stats.failures.get(host) or stats.dark.get(host)}
        self._broken = self._broken and bool(hosts)
        self._end_stage()
        for host in sorted(hosts):
            task, message = self._failed[host]
            self._console.print(Text(f"\n{host}: {task}", style="bold red"))
            self._console.print(Text(message.strip()))
        self._console.print(Text(f"{'':34} {time.monotonic() - self._began:6.1f} s in all", style="dim"))
