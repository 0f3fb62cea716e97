"""Listings as columns: what goes in comes out, and millions of rows fit."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import BoxRow, BuildSettings, Frame, Listing, build, frames_of
from builders.columns import Coded, Texts
from builders.job import check_frames
from builders.media import Picture, Stamp
from builders.sources import BoxRows, Frames
from lmdb_reid import codec
from lmdb_reid.errors import DuplicateSampleError, SourceError, UsageError
from lmdb_reid.schema import Box, Kind, Roles, Size

cells = st.none() | st.integers(-9, 9) | st.floats(allow_nan=False, width=32) | st.text(max_size=2)
fields = st.dictionaries(st.sampled_from(["camera", "game", "shirt"]), cells, max_size=3)
boxes = st.tuples(*[st.floats(-9, 99, width=32)] * 4).map(Box._make)
rows = st.builds(
    BoxRow,
    number=st.integers(0, 9),
    label=st.integers(-1, 1 << 60),
    box=st.none() | boxes,
    kind=st.sampled_from(Kind),
    fields=fields,
    document=st.just(""),
    entry=st.just(-1),
    order=st.just(-1),
) | st.builds(
    BoxRow,
    number=st.just(0),
    label=st.just(3),
    box=st.none(),
    kind=st.just(Kind.PERSON),
    fields=st.just({}),
    document=st.sampled_from(["a.csv line", "b.csv line"]),
    entry=st.integers(-1, 99),
    order=st.just(-1),
)
frames = st.lists(
    st.builds(
        Frame,
        key=st.text(min_size=1, max_size=4),
        fields=fields,
        rows=st.lists(rows, max_size=4).map(tuple),
        boxes=st.lists(boxes, max_size=3).map(tuple),
    ),
    unique_by=lambda frame: frame.key,
    max_size=6,
)


def known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: cell for name, cell in values.items() if cell is not None}


@settings(max_examples=50, deadline=None)
@given(frames)
def test_frames_come_back_as_they_were_in_the_order_of_their_keys(some: list[Frame]) -> None:
    columns = frames_of(some)
    order, wanted = 0, {}
    for frame in some:  # rows without an order have that in which they came
        own = []
        for row in frame.rows:
            own.append(row._replace(order=order, fields=known(dict(row.fields))))
            order += 1
        wanted[frame.key] = Frame(
            key=frame.key,
            fields=known(dict(frame.fields)),
            rows=tuple(own),
            boxes=frame.boxes,
        )
    keys = sorted(wanted, key=lambda key: key.encode("utf-8", "surrogatepass"))
    assert list(columns) == [wanted[key] for key in keys]
    assert [columns[at] for at in range(len(columns))] == list(columns)
    half = len(columns) // 2
    assert list(columns[half:][:1]) == list(columns)[half:][:1]
    assert pickle.loads(pickle.dumps(columns[half:])) == columns[half:]
    assert frames_of(columns) == columns


def test_values_keep_their_types() -> None:
    rows_ = [BoxRow(0, 1, None, fields={"shirt": 7}), BoxRow(1, 1, None, fields={"when": 1.5})]
    (frame,) = frames_of([Frame(key="a", rows=tuple(rows_), fields={"game": True, "n": 3})])
    assert [dict(row.fields) for row in frame.rows] == [{"shirt": 7}, {"when": 1.5}]
    assert [*map(type, frame.fields.values())] == [bool, int]
    assert type(frame.rows[0].fields["shirt"]) is int


def test_a_column_that_is_called_as_ours_are_gets_another_name() -> None:
    row = BoxRow(0, 1, Box(1, 2, 3, 4), fields={"label": "x", "kind": 3, "x": 9})
    (frame,) = frames_of([Frame(key="a", rows=(row,), fields={"w": "wide"})])
    assert dict(frame.rows[0].fields) == {"src_label": "x", "src_kind": 3, "src_x": 9}
    assert dict(frame.fields) == {"src_w": "wide"}


def test_columns_of_other_lengths_are_refused() -> None:
    good = {"number": np.zeros(2, int), "label": np.zeros(2, int), "order": np.arange(2)}
    rows_ = BoxRows(box=np.zeros((2, 4)), **good)
    keys, starts = Texts.of(["a", "b"]), np.array([0, 1, 2])
    Frames(keys=keys, fields={}, starts=starts, rows=rows_)
    for wrong in (
        {"starts": np.array([0, 2])},
        {"starts": np.array([0, 1, 3])},
        {"fields": {"camera": np.arange(3)}},
        {"boxes": np.zeros((1, 4))},
        {"rows": BoxRows(box=np.zeros((3, 4)), **good)},
    ):
        with pytest.raises(UsageError, match="as long as"):
            Frames(**{"keys": keys, "fields": {}, "starts": starts, "rows": rows_} | wrong)


def test_what_check_frames_refuses() -> None:
    whole = BoxRow(0, 1, None)
    box = BoxRow(0, 1, Box(0, 0, 9, 9))
    check_frames(frames_of([Frame(key="a", rows=(whole, box)), Frame(key="b", rows=(whole,))]))
    with pytest.raises(DuplicateSampleError, match="frame b has more than one row for the whole"):
        check_frames(
            frames_of([Frame(key="a", rows=(whole,)), Frame(key="b", rows=(whole, whole))])
        )
    with pytest.raises(DuplicateSampleError, match="two frames are called b"):
        check_frames(frames_of([Frame(key="b"), Frame(key="a"), Frame(key="b")]))
    check_frames(frames_of([Frame(key="b", rows=(box,) * 10_000)]))
    with pytest.raises(SourceError, match="at most 10,000 boxes; b has 10,001"):
        check_frames(frames_of([Frame(key="a"), Frame(key="b", rows=(box,) * 10_001)]))
    with pytest.raises(SourceError, match="at most 10,000 boxes; b has 10,001"):
        check_frames(frames_of([Frame(key="b", boxes=(Box(0, 0, 9, 9),) * 10_001)]))
    backwards = frames_of([Frame(key="a"), Frame(key="b")])
    with pytest.raises(SourceError, match="a comes too late"):
        check_frames(
            Frames(
                keys=Texts.of(["b", "a"]), fields={}, starts=backwards.starts, rows=backwards.rows
            )
        )


PICTURE = codec.encode(np.zeros((90, 160, 3), np.uint8))


class OnePicture:
    """A medium that shows the same for every key."""

    def name(self, key: str) -> str:
        return key

    def stamp(self, key: str) -> Stamp:
        return (len(key),)

    def size(self, key: str) -> Size:
        return 90, 160

    def run(self, keys: Iterable[str]) -> Iterator[Picture]:
        for _ in keys:
            yield lambda: PICTURE


class Many:
    """A source of so many rows, ten to a frame."""

    name = "many"
    roles = Roles(camera="camera")

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def read(self) -> Listing:
        frames, count = self.rows // 10, self.rows
        row = np.arange(count)
        box = np.empty((count, 4))
        box[:] = 5, 5, 30, 60
        return Listing(
            frames=Frames(
                keys=Texts.of(f"game/{frame:09d}" for frame in range(frames)),
                fields={"camera": np.arange(frames) % 4},
                starts=np.arange(0, count + 1, 10),
                rows=BoxRows(
                    number=(row % 10).astype(np.int32),
                    label=row % 1000,
                    box=box,
                    order=row,
                    document=Coded(codes=np.zeros(count, np.int32), categories=("m.csv line",)),
                    entry=row + 2,
                ),
            ),
            medium=OnePicture(),
            rows=count,
        )


class Enough(Exception):
    """So much was built."""


def begin(source: Any, out: Path) -> None:
    def stop(done: int, total: int, crops: int) -> None:
        if done == 50:
            raise Enough

    with pytest.raises(Enough):
        build(source, out, BuildSettings(size=(64, 32)), num_workers=1, progress=stop)


def test_ten_million_rows_would_take_less_than_two_gigabytes(tmp_path: Path) -> None:
    begin(Many(1000), tmp_path / "warm")
    peaks = []
    for count in (20_000, 120_000):
        tracemalloc.start()
        begin(Many(count), tmp_path / f"o{count}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    bytes_a_row = (peaks[1] - peaks[0]) / 100_000
    assert bytes_a_row < 180  # as objects they would take some 1,000
