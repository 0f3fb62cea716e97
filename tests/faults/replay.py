"""Power cuts that a disk may answer as it likes, made from the recorded calls of one run.

What was synced is there. Of the rest, names and content may each be there or not:

    least      nothing that was not synced
    names      all names, and no content that was not synced
    ordered    the names of one moment since the last sync, as a file system with a journal keeps
               them; content old, new, or torn at 512 or 4,096 bytes
    any        the names of each folder of a moment of their own

LMDB writes its first two pages after all others of a commit are on the disk: so here, too.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .child import arm, in_child, value_of
from .works import WORKS, Lab, taken_up

MODES = ("least", "names", "ordered", "any")
_PAGES = 8192  # of LMDB, which say where the rest is
Node = tuple[int, int]  # inode, and which of the files that had it


@dataclass(slots=True)
class Moment:
    """The tree before a call."""

    folders: dict[Node, dict[str, Node]]
    files: dict[Node, str]
    """The key of each file's content."""


@dataclass
class Tape:
    """All that one run did to a folder."""

    folder: Path
    moments: list[Moment] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    synced: list[tuple[Node, int]] = field(default_factory=list)
    """(file or folder, the moment of which it is on the disk), in order."""
    at_call: list[int] = field(default_factory=list)
    """How many of `synced` there were before each call."""
    _ages: dict[int, int] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def __call__(self, call: str, path: Path) -> None:
        if not str(path).startswith(str(self.folder)) or call == "write":
            return  # what was written shows before the next call
        nodes = self._look()
        now = len(self.moments) - 1
        if call == "committed":  # LMDB synced it just now, and what it is now was on its way before
            self.at_call.append(len(self.synced))
            self.synced.append((nodes[str(path)], now))
        else:
            self.at_call.append(len(self.synced))
            if call == "fsync":
                self.synced.append((nodes[str(path)], now))
        self.calls.append(call)

    def end(self) -> None:
        """The run is over."""
        self._look()
        self.at_call.append(len(self.synced))
        self.calls.append("end")

    def _look(self) -> dict[str, Node]:
        moment, nodes, inodes = Moment({}, {}), {}, set()
        for at, folders, files in os.walk(self.folder):
            here = nodes.setdefault(at, self._node(Path(at).stat().st_ino, inodes))
            entries = moment.folders.setdefault(here, {})
            for name in (*folders, *files):
                path = os.path.join(at, name)  # noqa: PTH118
                node = entries[name] = nodes[path] = self._node(Path(path).stat().st_ino, inodes)
                if name in files:
                    data = Path(path).read_bytes()
                    key = hashlib.sha1(data).hexdigest()
                    self.contents[key] = data
                    moment.files[node] = key
        self._seen = inodes
        self.moments.append(moment)
        return nodes

    def _node(self, inode: int, inodes: set[int]) -> Node:
        if inode not in self._seen and inode not in inodes:
            self._ages[inode] = self._ages.get(inode, 0) + 1
        inodes.add(inode)
        return inode, self._ages[inode]

    # -- what may be left

    def lay(self, at: int, mode: str, draw: random.Random, out: Path) -> None:
        """Write into `out` what a power cut before call `at` may leave."""
        start = dict.fromkeys((*self.moments[0].folders, *self.moments[0].files), 0)
        done = start | dict(self.synced[: self.at_call[at]])
        last = max(done.values())
        moment = draw.randint(last, at) if mode == "ordered" else at

        def names(node: Node) -> dict[str, Node]:
            first = done.get(node)
            if mode in ("names", "ordered"):
                return self.moments[moment].folders.get(node, {})
            if first is None and mode == "least":
                return {}
            born = next(i for i, one in enumerate(self.moments) if node in one.folders)
            first = born if first is None else first
            when = first if mode == "least" else draw.randint(first, max(first, at))
            while node not in self.moments[when].folders:  # it was removed meanwhile
                when -= 1
            return self.moments[when].folders[node]

        def write(node: Node, path: Path) -> None:
            if any(node in one.folders for one in self.moments):
                path.mkdir(exist_ok=True)
                for name, inner in names(node).items():
                    write(inner, path / name)
            else:
                path.write_bytes(self._content(node, done, at, mode, draw, path.suffix == ".mdb"))

        root = next(iter(self.moments[0].folders))
        write(root, out)

    def _content(
        self, node: Node, done: dict[Node, int], at: int, mode: str, draw: random.Random, lmdb: bool
    ) -> bytes:
        when = done.get(node)
        old = b"" if when is None else self.contents[self.moments[when].files[node]]
        there = [one.files[node] for one in self.moments[: at + 1] if node in one.files]
        new = self.contents[there[-1]]
        if old == new or mode in ("least", "names"):
            return old
        fate = draw.choice(["old", "new", 512, 4096])
        if isinstance(fate, str):
            return old if fate == "old" else new
        old = old.ljust(len(new), b"\0")
        torn = bytearray(new)
        for begin in range(0, len(new), fate):
            if draw.random() < 0.5:
                torn[begin : begin + fate] = old[begin : begin + fate]
        if lmdb and torn[_PAGES:] != new[_PAGES:]:
            torn[:_PAGES] = old[:_PAGES]
        return bytes(torn)


@functools.lru_cache(maxsize=8)
def tape_of(lab: Lab, name: str, bug: object) -> Tape:
    """The recording of a work; `bug` only keeps those of seeded bugs apart."""
    work, folder = WORKS[name](lab), lab.empty("taped")
    work.lay(folder)
    os.sync()

    def record() -> Tape:
        tape = Tape(folder)
        tape._look()
        tape.at_call.append(0)
        tape.calls.append("begin")
        arm(tape)
        work.run(folder)
        tape.end()
        return tape

    return value_of(in_child(record, before=lab.bug))  # type: ignore[no-any-return]


def trials(lab: Lab, group: str, count: int, seed: int) -> Iterator[str]:
    """`WORK MODE CALL SEED`; `group` is "WORK MODE"."""
    work, mode = group.split()
    calls = len(tape_of(lab, work, lab.bug).calls)
    draw = random.Random(f"{seed} {group}")
    if mode in ("least", "names"):
        places = range(1, calls)
        chosen = places if count >= len(places) else [*draw.sample(places, count - 1), calls - 1]
        yield from (f"{group} {at} 0" for at in sorted({*chosen}))
    else:
        yield from (f"{group} {draw.randrange(1, calls)} {number}" for number in range(count))


def trial(lab: Lab, line: str) -> str:
    """One of `trials`: what was found, or Wrong."""
    name, mode, at, seed = line.split()
    tape = tape_of(lab, name, lab.bug)
    folder = lab.empty("trial")
    tape.lay(int(at), mode, random.Random(f"{line} {seed}"), folder)
    over = tape.calls[int(at)] == "end"
    work = WORKS[name](lab)
    return taken_up(work, folder, power_cut=True, over=over, refusable=mode == "any")
