"""The states that the engine gives a container, by what they mean for its processes and ports."""

STOPPED = ("exited", "created", "dead", "removing")
# With processes, and so with a network namespace.
WITH_PROCESSES = ("running", "paused")
# As WITH_PROCESSES, or about to be: its ports stay reserved while it restarts.
STARTED = (*WITH_PROCESSES, "restarting")
