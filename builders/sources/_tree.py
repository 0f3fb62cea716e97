"""Folders of images as paths, and where a folder that was meant stands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from lmdb_reid.errors import SourceError, SourceNotFoundError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Of files that are taken for images, in lower case. What is in them decides how they are read."""
_DEEP, _DEEPEST = 3, 20


def below_root(path: str) -> str:
    """A path with slashes and without `.`; "" where it does not stay below its root."""
    parts = PurePosixPath(path.strip().replace("\\", "/"))
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        return ""
    return str(parts)


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def images_below(root: Path, folder: str = "") -> list[str]:
    """The images in a folder and all below it; see `files_below`."""
    return files_below(root, is_image, folder)


def files_below(
    root: Path, wanted: Callable[[str], bool], folder: str = "", *, option: str = "--root"
) -> list[str]:
    """The files of wanted names in a folder and all below it, as paths below `root`, sorted. Files
    and folders whose names begin with a dot are not looked at.

    Raises:
        SourceNotFoundError: no such folder.
        SourceError: a folder cannot be listed, or folders are more than 20 deep.
    """
    found: list[str] = []
    todo = [folder]
    while todo:
        here = todo.pop()
        if here.count("/") > _DEEPEST:
            raise SourceError(
                f"folders must be at most {_DEEPEST} deep, got {root / here}. A link may"
                " lead to a folder above it"
            )
        for entry in _entries(root / here, option):
            path = f"{here}/{entry.name}" if here else entry.name
            if entry.is_dir():
                todo.append(path)
            elif wanted(entry.name):
                found.append(path)
    return sorted(found)


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted.

    Raises:
        SourceNotFoundError: no such folder.
        SourceError: it cannot be listed.
    """
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def not_this_layout(root: Path, needs: str, recognises: Callable[[Path], str]) -> SourceError:
    """The error for a folder that is not of a layout; it says where the layout is, if that is a
    few folders further down or one up.

    Args:
        root: the folder.
        needs: what it must have, in words.
        recognises: the layout's.
    """
    has = [entry.name for entry in _entries(root)]
    message = f"{root} must have {needs}; it has {some_of(sorted(has)) or 'nothing'}"
    for place in places_near(root):
        if recognises(place):
            return SourceError(f"{message}. The images are in {place}. Use --root {place}")
    return SourceError(message)


def places_near(root: Path) -> Iterator[Path]:
    """Folders that may have been meant by one: those a few further down, then the one above."""
    yield from _below(root, _DEEP)
    yield root.absolute().parent


def place_of(root: Path, path: str) -> str:
    """Where a file that is not at `root / path` is, as a cure in words; "" where it is nowhere."""
    for folder in places_near(root):
        if os.path.isfile(folder / path):  # noqa: PTH113  # no error for odd names
            return f"The images are in {folder}. Use --root {folder}"
    name = path.rpartition("/")[2]
    for folder in (root, *places_near(root)):
        if os.path.isfile(folder / name):  # noqa: PTH113  # no error for odd names
            return f"{name} is in {folder}"
    return ""


def suffix_of(root: Path, path: str) -> str:
    """A cure in words if `root / path` lacks only its suffix; "" if it does not."""
    folder, slash, name = path.rpartition("/")
    try:
        with os.scandir(root / folder) as entries:
            found = sorted(each.name for each in entries if each.name.startswith(f"{name}."))
    except (OSError, ValueError):
        return ""
    return f"{folder}{slash}{found[0]} exists: write its suffix too" if found else ""


def some_of(names: Sequence[object], many: int = 6) -> str:
    """Some of many names, in words."""
    shown = ", ".join(map(str, names[:many]))
    return f"{shown} and {len(names) - many:,} more" if len(names) > many else shown


def _below(root: Path, deep: int) -> Iterator[Path]:
    """Folders below a folder, the nearest first; not all of many."""
    level = [root]
    for _ in range(deep):
        found: list[Path] = []
        for folder in level[:50]:
            with contextlib.suppress(SourceError):  # one that cannot be listed
                found += [folder / name for name in folders_in(folder)]
        level = found
        yield from level


def _entries(folder: Path, option: str = "--root") -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        raise SourceNotFoundError(f"no folder at {folder} ({option})") from None
    except OSError as error:
        raise SourceError(
            f"{folder} cannot be listed: {error.strerror} ({option} names a folder)"
        ) from None
