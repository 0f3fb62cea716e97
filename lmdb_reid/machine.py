"""What this process may use of its machine, or of its container; and how sizes are written."""

from __future__ import annotations

import os
from pathlib import Path


def available_cores() -> int:
    """Cores that this process may run on, or the part of them that its container allows."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota, _, period = cgroup("cpu.max").partition(" ")
    return max(1, min(cores, int(quota) // int(period))) if quota.isdigit() else cores


def free_memory() -> int | None:
    """Bytes that programs may still take, in this container; None where the system cannot tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = int(dict(line.split(":", 1) for line in lines)["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    limit, used = cgroup("memory.max"), cgroup("memory.current")
    if not (limit.isdigit() and used.isdigit()):
        return free
    # The page cache counts as used, and is given up as soon as somebody needs it.
    stat = dict(line.split() for line in cgroup("memory.stat").splitlines())
    cached = int(stat.get("file", 0)) - int(stat.get("shmem", 0))
    return max(0, min(free, int(limit) - int(used) + cached))


def size_in_words(count: float) -> str:
    """Bytes as people read them: "12 bytes", "34.5 kB", "67.8 MB", "9.01 GB"; units of 1,000."""
    for unit, name, digits in ((1e9, "GB", 2), (1e6, "MB", 1), (1e3, "kB", 1)):
        if count >= unit:
            return f"{count / unit:,.{digits}f} {name}"
    return f"{count:.0f} bytes"


def cgroup(name: str) -> str:
    """A limit that a container sets on itself; "" where there is none to read."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return ""
