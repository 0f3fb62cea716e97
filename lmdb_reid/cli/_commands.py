"""The commands that are installed: their names, what each does, and what people call them."""

from __future__ import annotations

import shutil
import textwrap
from importlib.metadata import EntryPoint, entry_points

from lmdb_reid._names import nearest
from lmdb_reid.cli._parser import TIP
from lmdb_reid.errors import UsageError

PROG = "lmdb-reid"
GROUP = "lmdb_reid.commands"
_NOT_INSTALLED = "lmdb_reid can be imported but is not installed: pip install -e . in its checkout"

# Kept here so that --help imports no command. The order is that of a first visit.
SUMMARIES = {
    "demo": "build a store from a synthetic game and compare loading speeds",
    "build": "build a store: cut boxes out of frames",
    "negatives": "export background and partial negative boxes to csv",
    "info": "show what a store contains",
    "verify": "check a store for damage",
    "merge": "join several stores without copying their pictures",
    "query": "print the ids of the samples that match a condition",
    "get": "show or save one sample",
    "export": "write samples as picture files and a csv",
    "sheet": "save a contact sheet of samples",
    "warm": "preload a store into memory, or decode it once for all runs",
    "bench": "measure loading speed and suggest what to change",
    "split": "split a store into parts, find leaks between them",
    "train": "train a baseline on one fold or split, keep the best checkpoint",
    "embed": "compute features of a store's samples with a trained model",
    "rank": "score features by mAP, CMC and the open set, and draw rank lists",
    "doctor": "check this machine and installation for problems",
    "completion": "print a script that completes commands and options in a shell",
}

# What people type for want of our word.
_MEANT = {
    "ls": ("query", "info"),
    "list": ("query", "info"),
    "show": ("info",),
    "stats": ("info",),
    "describe": ("info",),
    "head": ("query", "info"),
    "ids": ("query", "info"),
    "find": ("query", "info"),
    "search": ("query", "info"),
    "select": ("query", "info"),
    "filter": ("query", "info"),
    "cat": ("get",),
    "view": ("sheet",),
    "plot": ("sheet",),
    "grid": ("sheet",),
    "create": ("build",),
    "make": ("build",),
    "convert": ("build",),
    "pack": ("build",),
    "check": ("verify",),
    "validate": ("verify",),
    "fsck": ("verify",),
    "extract": ("export", "get"),
    "dump": ("export", "get"),
    "unpack": ("export", "get"),
    "join": ("merge",),
    "concat": ("merge",),
    "cache": ("warm",),
    "preload": ("warm",),
    "benchmark": ("bench",),
    "speed": ("bench",),
    "fit": ("train",),
    "eval": ("rank", "train"),
    "evaluate": ("rank", "train"),
    "test": ("rank", "train"),
    "folds": ("split", "train"),
    "leaks": ("split",),
}


def commands() -> dict[str, EntryPoint]:
    """The installed commands by name: ours as SUMMARIES has them, then those of other packages."""
    # Of two commands of one name the first on sys.path is taken, as for modules.
    found = {entry.name: entry for entry in reversed(list(entry_points(group=GROUP)))}
    ours = [name for name in SUMMARIES if name in found]
    return {name: found[name] for name in (*ours, *sorted(found.keys() - SUMMARIES.keys()))}


def find(name: str) -> EntryPoint:
    """The command of this name.

    Raises:
        UsageError: none has it; says the nearest.
    """
    found = commands()
    if name in found:
        return found[name]
    if not found:
        raise UsageError(f"unknown command {name!r}: {_NOT_INSTALLED}")
    near = next((meant for meant in _MEANT.get(name, ()) if meant in found), None)
    near = near or nearest(name, [*found, "help"])
    raise UsageError(
        f"unknown command {name!r}"
        + (f"{TIP}a similar command exists: {near}. " if near else "\n")
        + f"For all commands: {PROG} --help"
    )


def listing() -> str:
    """A line for each command."""
    found = commands()
    if not found:
        return f"no commands are installed: {_NOT_INSTALLED}"
    width = max(map(len, found)) + 4
    columns = max(40, shutil.get_terminal_size().columns - 1)
    lines = []
    for name, entry in found.items():
        dist = entry.dist.name if entry.dist else entry.value
        summary = SUMMARIES.get(name, f"a command of {dist}")
        lines += textwrap.wrap(
            summary,
            columns,
            initial_indent=f"  {name}".ljust(width),
            subsequent_indent=" " * width,
        )
    return "commands:\n" + "\n".join(lines)
