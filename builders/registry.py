"""Sources by name: entry points of the group `lmdb_reid.sources`, each of which names a class.

A source is imported when it is asked for and not before, so that one which does not import breaks
no other.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lmdb_reid._lazy import EXTRA_OF_MODULE
from lmdb_reid.errors import UsageError

if TYPE_CHECKING:  # or --help would need all that sources need
    from builders.sources import Source

GROUP = "lmdb_reid.sources"
AUTO = "auto"
"""What `--format` takes instead of a name, to have the folder looked at."""
_LOOKED_AT = 200
"""Folders near one that no format fits."""
_NEEDED = ("name", "roles", "configure", "from_args", "recognises", "read")


def source_names() -> list[str]:
    """The names that `--format` takes, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def source_class(name: str) -> type[Source]:
    """The source that is called `name`.

    Raises:
        UsageError: none is, two are, it does not import, or it is no source.
        ModuleNotFoundError: it needs a package that an extra of ours brings.
    """
    entries = [*{_origin(entry): entry for entry in entry_points(group=GROUP, name=name)}.values()]
    if not entries:
        raise UsageError(_unknown(name))
    if len(entries) > 1:
        both = " and ".join(sorted(f"{entry.value} of {_dist(entry)}" for entry in entries))
        raise UsageError(
            f"the format {name!r} must be one source, but it is {both}: uninstall one of the two"
        )
    (entry,) = entries
    try:
        found: type[Source] = entry.load()
    except Exception as error:  # whatever the module of another package raises
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRA_OF_MODULE:
            raise  # the command says how to install it
        raise UsageError(
            f"the format {name!r} cannot be used: {entry.value} of {_dist(entry)} does not import"
            f" ({type(error).__name__}: {error})"
        ) from error
    missing = [each for each in _NEEDED if not hasattr(found, each)]
    if missing:
        raise UsageError(
            f"the format {name!r} cannot be used: {entry.value} of {_dist(entry)} lacks"
            f" {', '.join(missing)}"
        )
    return found


def recognised(root: Path) -> tuple[str, str]:
    """The name of the source whose layout a folder has, and why, in words.

    Raises:
        UsageError: none has, or two have. A source that cannot be used is passed over.
    """
    if not root.is_dir():
        raise UsageError(f"--root must be a folder, got {root}")
    sources: list[tuple[str, type[Source]]] = []
    for name in source_names():
        with contextlib.suppress(UsageError, ModuleNotFoundError):
            sources.append((name, source_class(name)))
    found = _fitting(sources, root)
    if not found:
        raise UsageError(
            f"no format fits {root}: they are {', '.join(source_names())}."
            f"{_elsewhere(sources, root)} Use --format, and for anything else --format csv with"
            " --columns"
        )
    if len(found) > 1:
        both = "; ".join(f"{name}, for {why}" for name, why in found)
        raise UsageError(f"{len(found)} formats fit {root}: {both}. Choose one with --format")
    return found[0]


def _fitting(sources: Iterable[tuple[str, type[Source]]], root: Path) -> list[tuple[str, str]]:
    """The names of those whose layout a folder has, and why."""
    found: list[tuple[str, str]] = []
    for name, source in sources:
        with contextlib.suppress(UsageError, ModuleNotFoundError):
            why = source.recognises(root)
            if why:
                found.append((name, why))
    return found


def _elsewhere(sources: Sequence[tuple[str, type[Source]]], root: Path) -> str:
    """Which folder below, or whether the one above, may have been meant; "" where none fits."""
    from builders.sources import places_near

    for place in islice(places_near(root), _LOOKED_AT):
        for name, why in _fitting(sources, place):
            return f" {place} may be meant, as {name}, for {why}. Use --root {place}."
    return ""


def _origin(entry: EntryPoint) -> tuple[str, str]:
    return entry.value, _dist(entry)  # an installation may be found by two roads


def _dist(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def _unknown(name: str) -> str:
    names = source_names()
    if not names:
        return f"no format {name!r}: none is installed; pip install lmdb_reid brings some"
    near = difflib.get_close_matches(name, [*names, AUTO], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"format must be one of {', '.join([*names, AUTO])}, got {name!r}.{hint}"
