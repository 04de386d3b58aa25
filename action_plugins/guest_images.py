"""Run the module guest_images and show the progress of each build meanwhile."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from portchain.image.builder import log_path
from portchain.image.progress import describe

_INTERVAL = 5.0


class ActionModule(ActionBase):
    """Show progress, if the images are built on the machine that runs Ansible."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and beside it a thread that reads the logs of the builds."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        cache = Path(self._task.args.get("cache", "/var/cache/portchain/images"))
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(cache, self._task.args.get("names", []), done), daemon=True)
        watch.start()
        try:
            result.update(self._execute_module(task_vars=task_vars))
        finally:
            done.set()
            watch.join()
        return result


def _watch(cache: Path, names: list[str], done: threading.Event) -> None:
    started = time.time()
    said = ""
    while not done.wait(_INTERVAL):
        logs = {name: log_path(cache, name) for name in names if _written(log_path(cache, name)) >= started}
        if not logs:
            continue
        name = max(logs, key=lambda one: _written(logs[one]))
        position = f"{names.index(name) + 1} of {len(names)}"
        line = f"  image {name} ({position}): {describe(logs[name].read_text(errors='replace'))}"
        if line != said:
            Display().display(f"{line}, {time.time() - started:.0f} s")
            said = line


def _written(log: Path) -> float:
    try:
        return log.stat().st_mtime
    except OSError:
        return 0.0
