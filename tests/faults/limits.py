"""Works on a file system that is full from the beginning, and in too little memory.

    WORK tmpfs KILOBYTES     on a tmpfs of that size, which is made larger before it is resumed
    WORK memory MEGABYTES    with so much more address space than the process has

Each size is tried once; the work ends well, or with an error of ours, and is resumed then.
"""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .child import Ended, Wrong, in_child
from .works import WORKS, Fresh, Lab, taken_up

KINDS = {"tmpfs": 1600, "memory": 50}
"""The largest size, KB and MB, which is enough for each work."""
GROUPS = tuple(f"{work} {kind}" for kind in KINDS for work in WORKS)
_LARGE = "64m"  # in the end
_LONG = 60.0  # seconds, after which a work hangs
_STARTS = re.compile(r"threading\.py\", line \d+ in start$", re.MULTILINE)
"""Python waits for ever for a thread that had no memory to begin (3.11)."""


def trials(lab: Lab, group: str, count: int, seed: int) -> Iterator[str]:
    """`count` sizes, evenly from almost nothing to the largest; `seed` shifts them."""
    most = KINDS[group.split()[1]]
    sizes = {
        most * number // count + seed % max(1, most // count) for number in range(1, count + 1)
    }
    yield from (f"{group} {size}" for size in sorted(sizes))


def why_not(group: str) -> str:
    """Why a group cannot be tried here; "" where it can."""
    if group.endswith("memory"):
        return ""
    if os.geteuid():
        return "mounting needs root"
    return "" if shutil.which("mount") else "no mount"


def trial(lab: Lab, line: str) -> str:
    """One of `trials`: what came of it, or Wrong."""
    name, kind, size = line.split()
    work, folder = WORKS[name](lab), lab.empty("limited")
    if kind == "memory":
        work.lay(folder)
        stacks = lab.folder / "stacks"
        end = in_child(lambda: _in_memory(work, folder, int(size), stacks))
        if end.how == "hung" and _STARTS.search(stacks.read_text()):
            return "hung in Thread.start of Python"
        return _judged(work, folder, end)
    _mount(folder, "size=64m")
    try:
        inside = folder
        work.lay(inside)
        used = shutil.disk_usage(inside).used >> 10
        _mount(folder, f"remount,size={used + int(size)}k")
        end = in_child(lambda: work.run(inside))
        _mount(folder, f"remount,size={_LARGE}")
        return _judged(work, inside, end)
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _mount(folder: Path, options: str) -> None:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(words, check=True, capture_output=True)


def _in_memory(work: Fresh, folder: Path, megabytes: int, stacks: Path) -> None:
    out = stacks.open("w")  # it is written to by faulthandler, later
    faulthandler.dump_traceback_later(_LONG, file=out)
    page = os.sysconf("SC_PAGE_SIZE")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * page
    most = taken + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    work.run(folder)


def _judged(work: Fresh, folder: Path, end: Ended) -> str:
    if end.how not in ("done", "typed"):
        raise Wrong(f"{end.how}: {end.value}")
    found = taken_up(work, folder, power_cut=False, over=end.how == "done")
    error = f" {end.value.partition(':')[0]}" if end.how == "typed" else ""
    return f"{end.how}{error}, then {found}"
