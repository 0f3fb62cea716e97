"""Two or three processes at one store: the lock of a build, and readers beside an exchange."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lmdb_reid.errors import LmdbReidError, StoreChangedError
from lmdb_reid.store import Store, _opening

from .child import Ended, Wrong, arm, ended, in_child, value_of
from .works import Fresh, Lab, Over

_EXCHANGING = 3600.0  # seconds that a reader may read
GROUPS = ("busy", "renamed", "exchange")


def trials(lab: Lab, group: str, count: int, seed: int) -> Iterator[str]:
    """`GROUP NUMBER`: the number is the call at which the first process waits."""
    calls = {"busy": range(20, 60, 4), "renamed": [0], "exchange": range(3)}[group]
    yield from (f"{group} {number}" for number in [*calls][:count])


def trial(lab: Lab, line: str) -> str:
    """One of `trials`: what came of it, or Wrong."""
    group, number = line.split()
    return {"busy": _busy, "renamed": _renamed, "exchange": _exchange}[group](lab, int(number))


class Held:
    """A child that waits before a call until it is let go on."""

    def __init__(self, work: Callable[[], Any], at: Callable[[str], bool], bug: Any) -> None:
        ready, self.say_ready = os.pipe()
        self.wait_go, go = os.pipe()
        reader, writer = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            done = in_child(lambda: self._run(work, at), before=bug)
            with os.fdopen(writer, "wb") as out:
                pickle.dump(done, out)
            os._exit(0)
        for descriptor in (self.say_ready, self.wait_go, writer):
            os.close(descriptor)
        self.reader, self.go = reader, go
        if os.read(ready, 1) != b"!":
            raise Wrong(f"it never came there: {self.result()}")
        os.close(ready)

    def _run(self, work: Callable[[], Any], at: Callable[[str], bool]) -> None:
        waited = False

        def tell(call: str, path: Path) -> None:
            nonlocal waited
            if not waited and at(call):
                waited = True
                os.write(self.say_ready, b"!")
                os.read(self.wait_go, 1)

        arm(tell)
        work()

    def result(self) -> Ended:
        """Let it go on; how it ended."""
        os.write(self.go, b"!")
        os.close(self.go)
        return ended(self.child, self.reader)


def _at(number: int) -> Callable[[str], bool]:
    calls = [0]

    def at(_: str) -> bool:
        calls[0] += 1
        return calls[0] == number

    return at


def _busy(lab: Lab, number: int) -> str:
    """A second process resumes a build that is under way."""
    work, folder = Fresh(lab), lab.empty("busy")
    first = Held(lambda: work.run(folder), _at(number), lab.bug)
    second = in_child(lambda: work.finish(folder), before=lab.bug)
    one = first.result()
    if second.how != "typed" or not second.value.startswith("StoreBusyError"):
        raise Wrong(f"the second was not refused as busy: {second.how}, the first: {one.how}")
    value_of(one)
    return value_of(in_child(lambda: work.judge(folder)))  # type: ignore[no-any-return]


def _renamed(lab: Lab, _: int) -> str:
    """The folder that a process is about to lock is sealed, and a third begins another."""
    work, folder = Over(lab), lab.empty("renamed")
    work.lay(folder)
    first = Held(lambda: work.run(folder), lambda call: call == "committed", lab.bug)
    second = Held(lambda: work.run(folder), lambda call: call == "flock", lab.bug)
    value_of(first.result())
    third = Held(lambda: work.run(folder), lambda call: call == "committed", lab.bug)
    two = second.result()
    three = third.result()
    if two.how != "typed" or not two.value.startswith("StoreBusyError"):
        raise Wrong(f"the second was not refused as busy: {two.how}; the third: {three.how}")
    value_of(three)
    return value_of(in_child(lambda: work.judge(folder)))  # type: ignore[no-any-return]


def _exchange(lab: Lab, number: int) -> str:
    """A store is exchanged between the looks of a reader: 0 opened, and its columns mapped, 1 read
    once, 2 while it is opened. The two have ids, lengths and pins alike, and other pixels.
    """
    folder = lab.empty("exchange")
    one, two = lab.twins(folder)
    truth = value_of(in_child(lambda: [_images(one), _images(two)]))
    answer = in_child(lambda: _beside(lab, one, number, truth), before=lab.bug)
    return value_of(answer)  # type: ignore[no-any-return]


def _images(path: Path) -> dict[str, bytes]:
    with Store(path) as store:
        return {one.id: one.jpeg for one in (store.at(row) for row in range(len(store)))}


def _beside(lab: Lab, path: Path, number: int, truth: list[dict[str, bytes]]) -> str:
    check = _opening._check_parts

    def exchange() -> None:
        _opening._check_parts = check
        value_of(in_child(lambda: lab.twin(path, seed=1, overwrite=True)))

    def checked(parts: Any, *, structure: bool) -> None:
        exchange()
        check(parts, structure=structure)

    if number == 2:
        _opening._check_parts = checked
    try:
        with Store(path) as store:
            for name in store.columns if number == 0 else ():
                store.columns[name]
            if number == 1:
                store.at(0)
            if number < 2:
                exchange()
            with store.view() as view:
                for key, jpeg in truth[number == 2].items():
                    if bytes(view[key]) != jpeg:
                        raise Wrong("another store's picture")
        found = "served the store that was opened"
    except StoreChangedError:
        found = "StoreChangedError"
    except LmdbReidError as error:
        raise Wrong(f"a whole store, but {type(error).__name__}: {error}") from None
    if _images(path) != truth[1]:
        raise Wrong("not the new store's pictures")
    return found


def readers(lab: Lab, exchanges: int, count: int) -> str:
    """`count` processes open and read a store while it is exchanged again and again."""
    folder = lab.empty("readers")
    one, two = lab.twins(folder)
    truth = value_of(in_child(lambda: [_images(one), _images(two)]))
    over = folder / "over"
    children = [_reader(lab, one, over, truth) for _ in range(count)]
    for number in range(exchanges):
        value_of(
            in_child(lambda number=number: lab.twin(one, seed=(number + 1) % 2, overwrite=True))
        )  # type: ignore[misc]
    over.touch()
    counts = [value_of(ended(*child)) for child in children]
    return f"{exchanges:,} exchanges, {sum(map(len, counts)):,} opens, 0 wrong"


def _reader(lab: Lab, path: Path, over: Path, truth: Any) -> tuple[int, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    end = in_child(lambda: _reads(path, over, truth), before=lab.bug, limit=_EXCHANGING)
    with os.fdopen(writer, "wb") as out:
        pickle.dump(end, out)
    os._exit(0)


def _reads(path: Path, over: Path, truth: list[dict[str, bytes]]) -> list[str]:
    found = []
    while not over.exists():
        try:
            images = _images(path)
        except StoreChangedError:
            found.append("changed")
            continue
        if images not in truth:
            raise Wrong("a mixture of two stores")
        found.append("whole")
    return found
