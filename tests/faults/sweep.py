"""Faults at the N-th call of a work: kills, errors, and power cuts of real file systems."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .child import ERRORS, Calls, Ended, Wrong, in_child, value_of
from .works import WORKS, Lab, taken_up

FILE_SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], "data=ordered", 48),
    "ext4wb": (["mkfs.ext4", "-q", "-F"], "data=writeback", 48),
    "xfs": (["mkfs.xfs", "-q", "-f"], "defaults", 320),
}
"""The command that makes each, its mount options, and MB."""


def trials(lab: Lab, group: str, count: int, seed: int) -> Iterator[str]:
    """`WORK FAULT N` for every call N, or `count` of them at random; `group` is "WORK FAULT"."""
    work, fault = group.split()
    calls = count_calls(lab, work)
    numbers = [
        at
        for at, name in enumerate(calls, 1)
        if fault not in ERRORS or name != "committed"  # a commit fails before it is done
    ]
    if fault == "cut":
        numbers.append(len(calls) + 1)  # after the end
    if count < len(numbers):
        numbers = sorted(random.Random(f"{seed} {group}").sample(numbers, count))
    yield from (f"{work} {fault} {at}" for at in numbers)


@functools.cache
def count_calls(lab: Lab, name: str) -> list[str]:
    """The calls of an undisturbed run."""
    folder, work = lab.empty("counted"), WORKS[name](lab)
    work.lay(folder)
    return value_of(in_child(functools.partial(_names, work, folder)))  # type: ignore[no-any-return]


def _names(work: object, folder: Path) -> list[str]:
    calls = Calls(folder)
    calls.arm()
    work.run(folder)  # type: ignore[attr-defined]
    return calls.names


def trial(lab: Lab, line: str) -> str:
    """One of `trials`: what was found, or Wrong."""
    name, fault, number = line.split()
    work, folder = WORKS[name](lab), lab.empty("trial")
    work.lay(folder)
    end = in_child(lambda: _disturbed(work, folder, fault, int(number)), before=lab.bug)
    return _judged(work, folder, end)


def _disturbed(work: object, folder: Path, fault: str, at: int) -> None:
    calls = Calls(folder, fault, at)
    calls.arm()
    work.run(folder)  # type: ignore[attr-defined]
    if fault == "cut":
        calls.do("end", folder)


def _judged(
    work: object, folder: Path, end: Ended, *, cut: bool = False, over: bool = False
) -> str:
    if end.how not in ("done", "killed", "typed"):
        raise Wrong(f"{end.how}: {end.value}")
    if end.how == "typed" and not str(end.value).partition(": ")[2]:
        raise Wrong("an error without words")
    found = taken_up(work, folder, power_cut=cut, over=over or end.how == "done")  # type: ignore[arg-type]
    return f"{end.how}, then {found}"


# -- real file systems


def missing(system: str) -> str:
    """Why a file system cannot be tried here; "" where it can."""
    command = FILE_SYSTEMS[system][0][0]
    if os.geteuid():
        return "mounting needs root"
    if not all(map(shutil.which, (command, "mount", "umount"))):
        return f"no {command} or mount"
    with subprocess_folder() as folder:
        try:
            with _mounted(system, folder):
                return ""
        except subprocess.CalledProcessError as error:
            return f"{error.cmd[0]}: {error.stderr.decode().strip()[:80]}"


@contextlib.contextmanager
def subprocess_folder() -> Iterator[Path]:
    """A folder that goes again."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def _mounted(system: str, folder: Path) -> Iterator[Path]:
    make, options, size = FILE_SYSTEMS[system]
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(size << 20)
    _run(*make, str(image))
    with _mount(image, folder / "mounted", options) as at:
        yield at


@contextlib.contextmanager
def _mount(image: Path, at: Path, options: str) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    _run("mount", "-o", f"loop,{options}", str(image), str(at))
    try:
        yield at
    finally:
        _run("umount", str(at))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def cut_trial(lab: Lab, system: str, line: str) -> str:
    """One of `trials` with the fault "cut", on a file system of its own."""
    name, _, number = line.split()
    work, at = WORKS[name](lab), int(number)
    over = at > len(count_calls(lab, name))
    folder = lab.empty("cut")
    with _mounted(system, folder) as inside:
        work.lay(inside)
        _run("sync", "-f", str(inside))
        end = in_child(lambda: _disturbed(work, inside, "cut", at), before=lab.bug)
    with _mount(folder / "image", folder / "mounted", FILE_SYSTEMS[system][1]) as inside:
        return _judged(work, inside, end, cut=True, over=over)
