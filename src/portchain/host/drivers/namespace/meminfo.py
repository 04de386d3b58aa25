"""A guest's /proc/meminfo: the host's, with the numbers of the guest's control group. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ....linux.control_groups import Memory

# The host's values hold for the guest too, because it swaps to the host's swap.
_SHARED = ("Swap", "Huge", "Vmalloc")


def for_guest(host: str, memory: Memory | None) -> str:
    """Return the guest's file from the host's and the guest's ``memory``; the host's own if that is None."""
    if memory is None:
        return host
    lines = dict(line.split(":", 1) for line in host.splitlines())
    numbers = dict(_numbers(memory, _bytes(lines, "MemTotal"), _bytes(lines, "MemAvailable")))
    for name, text in lines.items():
        if name in numbers or not name.startswith(_SHARED):
            lines[name] = f"{numbers.get(name, 0) // 1024:>{len(text) - 3}} kB"
    return "".join(f"{name}:{text}\n" for name, text in lines.items())


def _bytes(lines: dict[str, str], name: str) -> int:
    return int(lines[name].split()[0]) * 1024


def _numbers(memory: Memory, host_total: int, host_available: int) -> Iterator[tuple[str, int]]:
    """Yield the names and values (bytes) of the guest's own lines."""
    stat = memory.stat
    total = min(memory.limit, host_total)
    free = max(0, total - memory.usage)
    reclaimable = sum(stat.get(name, 0) for name in ("inactive_file", "active_file", "slab_reclaimable"))
    yield from {
        **{"MemTotal": total, "MemFree": free, "MemAvailable": min(free + reclaimable, total, host_available)},
        **{"SwapCached": 0, "CommitLimit": total, "Committed_AS": memory.usage},
        "Active": stat.get("active_anon", 0) + stat.get("active_file", 0),
        "Inactive": stat.get("inactive_anon", 0) + stat.get("inactive_file", 0),
        "Slab": stat.get("slab_reclaimable", 0) + stat.get("slab_unreclaimable", 0),
    }.items()
    for name, key in {
        **{"Cached": "file", "AnonPages": "anon", "Mapped": "file_mapped", "Shmem": "shmem"},
        **{"Active(anon)": "active_anon", "Inactive(anon)": "inactive_anon"},
        **{"Active(file)": "active_file", "Inactive(file)": "inactive_file", "Unevictable": "unevictable"},
        **{"Dirty": "file_dirty", "Writeback": "file_writeback"},
        **{"KReclaimable": "slab_reclaimable", "SReclaimable": "slab_reclaimable", "SUnreclaim": "slab_unreclaimable"},
        **{"KernelStack": "kernel_stack", "PageTables": "pagetables"},
    }.items():
        yield name, stat.get(key, 0)
