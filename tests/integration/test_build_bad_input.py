"""Input that cannot be used, places that cannot be written, stores that were damaged."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders import (
    AtmaCup,
    BoxRow,
    BuildSettings,
    Files,
    Frame,
    Listing,
    Rejected,
    build,
    frames_of,
    plan,
)
from builders.game import Game
from lmdb_reid import _disk, codec
from lmdb_reid.cli.main import main
from lmdb_reid.errors import (
    CorruptSampleError,
    DuplicateSampleError,
    InvalidSampleError,
    ResumeError,
    SourceError,
    SourceNotFoundError,
    StoreBusyError,
    StoreDamagedError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
    TooManySkippedError,
    UsageError,
)
from lmdb_reid.schema import Box, Roles
from lmdb_reid.store import Store, StoreWriter, _growing

HEADER = "quarter,angle,session,frame,x,y,w,h,label_id"
SMALL = BuildSettings(size=(64, 32))


def source_of(game: Game, **options: Any) -> AtmaCup:
    return AtmaCup(game.train_meta, game.img_root, **options)


def words_of(game: Game, out: Path, *more: str) -> list[str]:
    words = ["build", "--format", "atmacup", "--train-meta", str(game.train_meta)]
    return [*words, "--img-root", str(game.img_root), "--out", str(out), *more]


def edit(game: Game, line: int, change: Callable[[str], str]) -> None:
    """Change one line of the csv, 1 being the header."""
    lines = game.train_meta.read_text().splitlines()
    lines[line - 1] = change(lines[line - 1])
    game.train_meta.write_text("\n".join(lines) + "\n")


def with_cell(game: Game, line: int, column: str, cell: str) -> None:
    at = HEADER.split(",").index(column)

    def change(text: str) -> str:
        cells = text.split(",")
        return ",".join([*cells[:at], cell, *cells[at + 1 :]])

    edit(game, line, change)


def digest_of(path: Path) -> str:
    with Store(path) as store:
        assert store.verify(deep=True).ok
        return store.digest


def left_in(folder: Path) -> list[str]:
    """Stores and unfinished builds in a folder."""
    return sorted(path.name for path in folder.iterdir() if ".lmdb" in path.name)


# the csv as a whole


def test_no_csv(game: Game, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no csv at .*gone\.csv \(--train-meta\)"):
        build(AtmaCup(tmp_path / "gone.csv", game.img_root), tmp_path / "o.lmdb")
    assert left_in(tmp_path) == []


def test_a_folder_instead_of_a_csv(game: Game, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot be read: .*--train-meta"):
        build(AtmaCup(game.img_root, game.img_root), tmp_path / "o.lmdb")


def test_no_folder_of_frames(game: Game, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no folder of frames at .*gone \(--img-root\)"):
        build(AtmaCup(game.train_meta, tmp_path / "gone"), tmp_path / "o.lmdb")
    with pytest.raises(SourceError, match=r"cannot be listed: .*--img-root"):
        build(AtmaCup(game.train_meta, game.train_meta), tmp_path / "o.lmdb")


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(own_game: Game, tmp_path: Path, column: str) -> None:
    edit(own_game, 1, lambda line: line.replace(column, f"{column}2", 1))
    with pytest.raises(SourceError, match=rf"train_meta\.csv lacks {column}; it has quarter"):
        build(source_of(own_game), tmp_path / "o.lmdb")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "is not a usable csv"),
        (b"\xff\xfe\x00\x01", "is not a usable csv"),
        (f"{HEADER}\n".encode(), "has no rows"),
        (f"{HEADER}\n\n\n".encode(), "has no rows"),
        (f"{HEADER}\nQ,side,0,1,1,1,9,9,0,7\n".encode(), "more cells in its rows than names"),
        (f"{HEADER}\nQ,side,0,1,1,1,9,9,0\nQ,side,0,1,1,1,9,9,0,7\n".encode(), "line 3, saw 10"),
        (f'{HEADER}\n"Q,side,0,1,1,1,9,9,0\n'.encode(), "is not a usable csv"),
    ],
)
def test_no_usable_csv(game: Game, tmp_path: Path, text: bytes, told: str) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(SourceError, match=told) as caught:
        build(AtmaCup(tmp_path / "m.csv", game.img_root), tmp_path / "o.lmdb")
    assert str(tmp_path / "m.csv") in str(caught.value)
    assert left_in(tmp_path) == []


# single rows


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("x", "abc", "x is 'abc', which is not a finite number"),
        ("y", "1,5".replace(",", ";"), "y is '1;5', which is not a finite number"),
        ("x", "", "x is missing"),
        ("x", "nan", "x is 'nan', which is not a finite number"),
        ("x", "1_0", "x is '1_0', which is not a finite number"),
        ("x", "0x1F", "x is '0x1F', which is not a finite number"),
        ("y", "\uff11\uff12", "y is '\uff11\uff12', which is not a finite number"),
        ("y", "NaN", "y is 'NaN', which is not a finite number"),
        ("h", "inf", "h is 'inf', which is not a finite number"),
        ("w", "-inf", "w is '-inf', which is not a finite number"),
        ("w", "0", "w is 0, which is not above 0"),
        ("h", "-3", "h is -3, which is not above 0"),
        ("w", "1e19", "w is 1e19, which is out of range"),
        ("w", "1.7e308", "w is 1.7e308, which is out of range"),
        ("y", "-1e300", "y is -1e300, which is out of range"),
        ("label_id", "seven", "label_id is 'seven', which is not a finite number"),
        ("label_id", "1.5", "label_id is '1.5', which is not a whole number"),
        ("label_id", "-2", "label_id is -2, which is below -1"),
        ("label_id", "", "label_id is missing"),
        ("label_id", "1e30", "label_id is 1e30, which is out of range"),
        ("label_id", str(1 << 53), f"label_id is {1 << 53}, which is out of range"),
        ("frame", "one", "frame is 'one', which is not a finite number"),
        ("frame", "inf", "frame is 'inf', which is not a finite number"),
        ("session", "0.5", "session is '0.5', which is not a whole number"),
        ("quarter", "", "quarter is missing"),
        ("angle", "", "angle is missing"),
        ("quarter", "Q9", "its frame Q9__side__00__01 is not in "),
        ("frame", "77", "its frame Q1-000__side__00__77 is not in "),
        ("x", "640", "is outside the 640x360 frame"),
        ("y", "-5000", "y=-5000 w="),
    ],
)
def test_a_row_that_cannot_be_used_is_listed(
    own_game: Game, tmp_path: Path, column: str, cell: str, reason: str
) -> None:
    wanted = {f"Q1-000__side__00__01#{n:03d}" for n in range(10)} - {"Q1-000__side__00__01#003"}
    with_cell(own_game, 5, column, cell)
    report = build(source_of(own_game, bbox_mode="keep"), tmp_path / "o.lmdb", SMALL)
    (row,) = report.skipped
    assert lines_of([row]) == [5]
    assert reason in row.reason
    assert report.rows == own_game.boxes
    assert report.kinds["person"] == own_game.boxes - 1
    told = json.loads((tmp_path / "o.lmdb" / "report.json").read_bytes())
    assert [(each["where"], each["reason"]) for each in told["skipped"]] == [
        ("train_meta.csv line 5", row.reason)
    ]
    with Store(tmp_path / "o.lmdb") as store:
        first = {s for s in store if re.fullmatch(r"Q1-000__side__00__01#\d+", s)}
        assert first == wanted or column in ("quarter", "angle", "session", "frame")
        assert store.columns["w"].dtype == np.int64  # the bad cell changed nothing else
        assert store.verify(deep=True).ok
    with pytest.raises(SourceError, match=r"line 5 cannot be used \(--strict\)") as caught:
        build(source_of(own_game), tmp_path / "s.lmdb", SMALL, strict=True)
    assert reason in str(caught.value)
    assert not (tmp_path / "s.lmdb").exists()


def test_one_bad_label_leaves_the_others_as_they_are(own_game: Game, tmp_path: Path) -> None:
    large = (1 << 53) - 1
    with_cell(own_game, 4, "label_id", str(large))
    with_cell(own_game, 9, "label_id", "x")
    build(source_of(own_game), tmp_path / "o.lmdb", SMALL)
    with Store(tmp_path / "o.lmdb") as store:
        assert store["Q1-000__side__00__01#002"].label == large


def test_lines_are_counted_where_cells_hold_line_breaks(tmp_path: Path, game: Game) -> None:
    first, second = '"two\nlines",', '"three\n\nlines",'
    rows = [f"{first}Q1-000,side,0,1,5,5,20,40,1", f"{second}Q1-000,side,0,1,5,5,0,40,1"]
    rows += ["z,Q1-000,side,0,1,5,5,20,x,1"]
    (tmp_path / "m.csv").write_text("\n".join([f"note,{HEADER}", *rows]) + "\n")
    source = AtmaCup(tmp_path / "m.csv", game.img_root)
    assert lines_of(plan(source, tmp_path / "o.lmdb").skipped) == [4, 7]


def test_more_than_the_share_is_an_error(own_game: Game, tmp_path: Path) -> None:
    for line in range(2, 8):  # 6 of 120 rows are the 5 % that are allowed
        with_cell(own_game, line, "w", "0")
    report = build(source_of(own_game), tmp_path / "six.lmdb", SMALL)
    assert len(report.skipped) == 6
    with_cell(own_game, 8, "w", "0")
    with pytest.raises(TooManySkippedError, match=r"7 of 120 rows cannot be used") as caught:
        build(source_of(own_game), tmp_path / "seven.lmdb", SMALL)
    for told in ("more than 5%", "--max-skipped", "line 2: w is 0, which is not above 0", "..."):
        assert told in str(caught.value)
    assert left_in(tmp_path) == ["six.lmdb"]
    build(source_of(own_game), tmp_path / "seven.lmdb", SMALL, max_skipped=0.06)
    assert main(words_of(own_game, tmp_path / "c.lmdb")) == 1
    assert main(words_of(own_game, tmp_path / "c.lmdb", "--max-skipped", "0.06")) == 0


def test_frames_that_cannot_be_read_count_for_the_share(own_game: Game, tmp_path: Path) -> None:
    frame = min(own_game.img_root.iterdir())
    frame.write_bytes(b"no picture")
    with pytest.raises(TooManySkippedError, match=f"10 of 120 .*{frame.name}: not a JPEG"):
        build(source_of(own_game), tmp_path / "o.lmdb", SMALL)
    assert not (tmp_path / "o.lmdb").exists()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(game: Game, tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="a share from 0 to 1"):
        build(source_of(game), tmp_path / "o.lmdb", max_skipped=share)
    assert main(words_of(game, tmp_path / "o.lmdb", f"--max-skipped={share}")) == 2


def test_nothing_that_can_be_used(own_game: Game, tmp_path: Path) -> None:
    for path in own_game.img_root.iterdir():
        path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"no usable row \(0 of 120\)"):
        build(source_of(own_game), tmp_path / "o.lmdb", SMALL, max_skipped=1.0)
    assert not (tmp_path / "o.lmdb").exists()
    with pytest.raises(SourceError, match="cannot be used"):
        build(AtmaCup(own_game.train_meta, tmp_path), tmp_path / "p.lmdb", SMALL)


# frames


@dataclass(frozen=True)
class BadFrame:
    make: Callable[[bytes], bytes]
    reason: str


def jpeg_header_of(data: bytes, height: int, width: int) -> bytes:
    """The same JPEG, its header claiming another size."""
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def png_of(height: int, width: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def progressive(data: bytes, scans: int) -> bytes:
    """The picture as a progressive JPEG whose last scan is repeated until there are so many."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, "JPEG", progressive=True)
    jpeg = out.getvalue()
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * (scans - jpeg.count(b"\xff\xda")) + jpeg[-2:]


BAD_FRAMES = {
    "empty": BadFrame(lambda data: b"", "the file is empty (0 bytes)"),
    "one byte": BadFrame(lambda data: data[:1], "not a JPEG, PNG, BMP or WebP image"),
    "two bytes": BadFrame(lambda data: data[:2], "not a readable JPEG"),
    "cut in its header": BadFrame(lambda data: data[:100], "not a readable JPEG"),
    "cut in half": BadFrame(lambda data: data[: len(data) // 2], "damaged JPEG"),
    "cut at its end": BadFrame(lambda data: data[:-20], "damaged JPEG"),
    "text": BadFrame(lambda data: b"Not Found\n" * 50, "not a JPEG, PNG, BMP or WebP image"),
    "zeros": BadFrame(lambda data: bytes(len(data)), "not a JPEG, PNG, BMP or WebP image"),
    "huge JPEG": BadFrame(lambda data: jpeg_header_of(data, 60_000, 60_000), "60000x60000"),
    "huge PNG": BadFrame(
        lambda data: png_of(60_000, 60_000), "60000x60000 pixels: more than 89,478,485"
    ),
    "large PNG": BadFrame(
        lambda data: png_of(10_000, 10_000), "10000x10000 pixels: more than 89,478,485"
    ),
    "2,000 scans": BadFrame(lambda data: progressive(data, 2000), "a JPEG of 2000 scans"),
}


@pytest.mark.parametrize("name", list(BAD_FRAMES))
def test_a_frame_that_cannot_be_used_is_listed_with_all_its_rows(
    own_game: Game, tmp_path: Path, name: str
) -> None:
    bad = BAD_FRAMES[name]
    frame = own_game.img_root / "Q1-000__top__00__02.jpg"
    frame.write_bytes(bad.make(frame.read_bytes()))
    tracemalloc.start()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = build(source_of(own_game), tmp_path / "o.lmdb", SMALL, max_skipped=0.1)
    (_, peak), _ = tracemalloc.get_traced_memory(), tracemalloc.stop()
    assert peak < 50e6  # 60,000 x 60,000 pixels would be 10.8 GB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before < 200_000  # kB
    assert lines_of(report.skipped) == list(range(42, 52))
    assert {row.reason for row in report.skipped} == {report.skipped[0].reason}
    assert frame.name in report.skipped[0].reason
    assert bad.reason in report.skipped[0].reason
    assert report.kinds["person"] == own_game.boxes - 10
    assert report.kinds["background"] == own_game.frames - 1
    with Store(tmp_path / "o.lmdb") as store:
        assert not [sample_id for sample_id in store if sample_id.startswith(frame.stem)]
        assert store.verify(deep=True).ok
    with pytest.raises(SourceError, match=r"line 42 cannot be used \(--strict\)"):
        build(source_of(own_game), tmp_path / "s.lmdb", SMALL, strict=True)
    assert not (tmp_path / "s.lmdb").exists()


@pytest.mark.parametrize("name", ["huge JPEG", "huge PNG", "large PNG", "2,000 scans"])
def test_hostile_frames_are_refused_before_they_are_decoded(
    own_game: Game, tmp_path: Path, monkeypatch: Any, name: str
) -> None:
    frame = own_game.img_root / "Q1-000__top__00__02.jpg"
    hostile = BAD_FRAMES[name].make(frame.read_bytes())
    frame.write_bytes(hostile)
    read_source, decoded = codec.read_source, []

    def noted(data: bytes, *rest: Any) -> Any:
        decoded.append(data)
        return read_source(data, *rest)

    monkeypatch.setattr(codec, "read_source", noted)
    build(source_of(own_game), tmp_path / "o.lmdb", SMALL, max_skipped=0.1)
    assert len(decoded) == own_game.frames - 1
    assert hostile not in decoded


def test_an_ordinary_progressive_jpeg_is_no_attack(own_game: Game, tmp_path: Path) -> None:
    frame = own_game.img_root / "Q1-000__top__00__02.jpg"
    frame.write_bytes(progressive(frame.read_bytes(), 10))
    assert build(source_of(own_game), tmp_path / "o.lmdb", SMALL).skipped == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, ": no regular file"),
        (os.mkfifo, ": no regular file"),  # reading it would wait for ever
        (lambda path: path.symlink_to("nowhere.jpg"), ": cannot be read: No such file"),
        (lambda path: path.symlink_to(path.name), ": cannot be read: Too many levels"),
    ],
    ids=["folder", "pipe", "link to nothing", "link to itself"],
)
def test_a_frame_that_is_no_file(
    own_game: Game, tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    frame = own_game.img_root / "Q1-000__top__00__02.jpg"
    frame.unlink()
    make(frame)
    report = build(source_of(own_game), tmp_path / "o.lmdb", SMALL, max_skipped=0.1)
    assert lines_of(report.skipped) == list(range(42, 52))
    assert f"{frame.name}{reason}" in report.skipped[0].reason
    planned = plan(source_of(own_game), tmp_path / "p.lmdb", SMALL)
    assert planned.skipped == report.skipped


def test_a_missing_frame(own_game: Game, tmp_path: Path) -> None:
    (own_game.img_root / "Q1-000__top__00__02.jpg").unlink()
    report = build(source_of(own_game), tmp_path / "o.lmdb", SMALL, max_skipped=0.1)
    assert lines_of(report.skipped) == list(range(42, 52))
    reason = f"its frame Q1-000__top__00__02 is not in {own_game.img_root}"
    assert {row.reason for row in report.skipped} == {reason}


# ids


def test_two_frames_of_one_image(own_game: Game, tmp_path: Path) -> None:
    (own_game.img_root / "Q__a__b__00__01.jpg").write_bytes(
        min(own_game.img_root.iterdir()).read_bytes()
    )
    rows = ["Q,a__b,0,1,5,5,20,40,1", "Q__a,b,0,1,5,5,20,40,2"]
    own_game.train_meta.write_text("\n".join([HEADER, *rows]) + "\n")
    with pytest.raises(DuplicateSampleError, match=r"lines 2 and 3 .*Q__a__b__00__01"):
        build(source_of(own_game), tmp_path / "o.lmdb", SMALL)
    assert left_in(tmp_path) == []


def lines_of(rows: Sequence[Rejected]) -> list[int]:
    """The lines of the csv that rejected rows stand on."""
    return [int(re.sub(r"^\w+\.csv line ", "", row.where)) for row in rows]


class Given:
    """A source that lists what it was given."""

    name = "given"

    roles = Roles()

    def __init__(self, folder: Path, *frames: Frame) -> None:
        self._frames = frames
        names = sorted(path.name for path in folder.iterdir())
        self._files = Files(folder, dict(zip((one.key for one in frames), names, strict=False)))

    def read(self) -> Listing:
        rows = sum(len(frame.rows) for frame in self._frames)
        return Listing(frames=frames_of(self._frames), medium=self._files, rows=rows)


def given_frame(key: str, *numbers: int) -> Frame:
    rows = tuple(
        BoxRow(number=number, label=at, box=Box(10, 10, 20, 40))
        for at, number in enumerate(numbers, 2)
    )
    return Frame(key=key, rows=rows)


def test_two_frames_of_one_key(game: Game, tmp_path: Path) -> None:
    source = Given(game.img_root, given_frame("same", 0), given_frame("same", 1))
    with pytest.raises(DuplicateSampleError, match="two frames are called same"):
        build(source, tmp_path / "o.lmdb", SMALL)
    assert left_in(tmp_path) == []


def test_two_rows_of_one_number(game: Game, tmp_path: Path) -> None:
    with pytest.raises(DuplicateSampleError, match="two samples have the id 'f#004'"):
        build(Given(game.img_root, given_frame("f", 4, 4)), tmp_path / "o.lmdb", SMALL)
    assert not (tmp_path / "o.lmdb").exists()


@pytest.mark.parametrize("key", ["a\nb", "a" * 510, ""])
def test_a_frame_key_that_is_no_id(game: Game, tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidSampleError, match="sample id"):
        build(Given(game.img_root, given_frame(key or "\x00", 1)), tmp_path / "o.lmdb", SMALL)
    assert left_in(tmp_path) == []


# what is there already


def test_an_existing_store_is_refused_and_stays(
    game: Game, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest_of(own_store)
    with pytest.raises(StoreExistsError, match=r"already exists. Use --overwrite"):
        build(source_of(game), own_store, SMALL)
    with pytest.raises(ResumeError, match=r"is complete, but was built from other size"):
        build(source_of(game), own_store, SMALL, resume=True)
    assert main(words_of(game, own_store)) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert digest_of(own_store) == before
    assert left_in(own_store.parent) == ["own.lmdb"]
    build(source_of(game), own_store, SMALL, overwrite=True)
    assert digest_of(own_store) != before
    assert left_in(own_store.parent) == ["own.lmdb"]


@pytest.mark.parametrize("thing", ["file", "folder"])
def test_what_is_no_store_is_never_overwritten(game: Game, tmp_path: Path, thing: str) -> None:
    out = tmp_path / "o.lmdb"
    kept = out
    if thing == "folder":
        out.mkdir()
        kept = out / "thesis.txt"
    kept.write_text("years of work")
    for more in ({}, {"overwrite": True}):
        with pytest.raises(StoreExistsError):
            build(source_of(game), out, SMALL, **more)
    assert kept.read_text() == "years of work"


def test_the_old_store_survives_a_failed_overwrite(own_game: Game, own_store: Path) -> None:
    before = digest_of(own_store)
    list(own_game.img_root.iterdir())[-1].write_bytes(b"no picture")
    for bad in ({"strict": True}, {"max_skipped": 0.01}):
        with pytest.raises(SourceError):
            build(source_of(own_game), own_store, SMALL, overwrite=True, **bad)
        assert digest_of(own_store) == before


def test_nothing_half_built_is_seen(game: Game, own_store: Path, tmp_path: Path) -> None:
    old, fresh, seen = digest_of(own_store), tmp_path / "fresh.lmdb", set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for path in (fresh, own_store):
                seen.add((path.name, state_of(path)))
            time.sleep(0.0002)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(3):
            build(source_of(game), own_store, SMALL, overwrite=True)
            build(source_of(game), fresh, SMALL)
            shutil.rmtree(fresh.rename(tmp_path / "gone"))
    finally:
        stop.set()
        watcher.join()
    new = digest_of(own_store)
    assert seen <= {("fresh.lmdb", new), ("fresh.lmdb", "absent")} | {
        ("own.lmdb", digest) for digest in (old, new)
    }
    assert ("own.lmdb", old) in seen
    assert ("fresh.lmdb", "absent") in seen


def state_of(path: Path) -> str:
    """The digest of the store of this name, "absent", or what is wrong with it."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return "absent"
    try:
        names = set(os.listdir(folder))  # noqa: PTH208  # a Path has no descriptor
        found = "".join(sorted(names))
        if {"data.mdb", "manifest.json", "columns", "report.json"} <= names and "work" not in names:
            found = str(json.loads(_read_in(folder, "manifest.json"))["digest"])
        if os.fstat(folder).st_ino == path.stat().st_ino:
            return found
        return state_of(path)  # another store took the name meanwhile, and this one is taken apart
    except FileNotFoundError:
        return state_of(path)
    finally:
        os.close(folder)


def _read_in(folder: int, name: str) -> bytes:
    with open(name, "rb", opener=lambda name, how: os.open(name, how, dir_fd=folder)) as file:
        return file.read()


# resuming


@pytest.fixture(scope="module")
def half(game: Game, tmp_path_factory: pytest.TempPathFactory, watched: Callable[..., Any]) -> Path:
    """What is left of a build that was killed half-way."""
    out = tmp_path_factory.mktemp("half") / "half.lmdb"
    words = words_of(game, out, "--size", "64x32", "--num-workers", "1")
    died = watched(*words, folder=game.img_root, commit_bytes=5000, stop_at=9, signal=9)
    assert died.code == -9
    return out.with_name("half.lmdb.partial")


@pytest.fixture
def stopped(half: Path, tmp_path: Path) -> Path:
    """Where the store of `own_game`, whose frames are as old as the originals, would be."""
    shutil.copytree(half, tmp_path / "half.lmdb.partial")
    return tmp_path / "half.lmdb"


@pytest.fixture(scope="module")
def small(game: Game, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest that `stopped` gets when it is resumed."""
    path = tmp_path_factory.mktemp("small") / "s.lmdb"
    build(source_of(game), path, SMALL)
    return digest_of(path)


def test_an_unfinished_build_needs_a_word(own_game: Game, stopped: Path) -> None:
    with pytest.raises(StoreExistsError) as caught:
        build(source_of(own_game), stopped, SMALL)
    for told in (f"{stopped}.partial", "--resume", "--overwrite"):
        assert told in str(caught.value)
    with pytest.raises(StoreNotFoundError, match=r"an unfinished build: .*--resume"):
        Store(stopped)


def test_resume_and_overwrite_finish_it(own_game: Game, stopped: Path, small: str) -> None:
    for more in ({"resume": True}, {"overwrite": True}):
        there = stopped.with_name(f"{next(iter(more))}.lmdb")
        shutil.copytree(f"{stopped}.partial", f"{there}.partial")
        build(source_of(own_game), there, SMALL, **more)  # type: ignore[arg-type]
        assert digest_of(there) == small
        assert not Path(f"{there}.partial").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed was 0, is now 1"),
        ({"expand": 1.0}, "expand was 1.2, is now 1.0"),
        ({"size": None}, r"size was \[64, 32\], is now None"),
        ({"quality": 90, "seed": 3}, "quality was 95, is now 90; seed was 0, is now 3"),
        ({"num_bg_per_frame": 2}, "num_bg_per_frame was 1, is now 2"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    own_game: Game, stopped: Path, small: str, change: dict[str, Any], told: str
) -> None:
    other = BuildSettings(**({"size": (64, 32)} | change))
    with pytest.raises(ResumeError, match=told) as caught:
        build(source_of(own_game), stopped, other, resume=True)
    assert "--overwrite" in str(caught.value)
    build(source_of(own_game), stopped, SMALL, resume=True)  # and nothing was spoilt
    assert digest_of(stopped) == small


def test_resuming_with_another_bbox_mode_is_refused(own_game: Game, stopped: Path) -> None:
    with pytest.raises(ResumeError, match="bbox_mode was 'drop', is now 'keep'"):
        build(source_of(own_game, bbox_mode="keep"), stopped, SMALL, resume=True)


def test_resuming_with_a_changed_csv_is_refused(own_game: Game, stopped: Path) -> None:
    with_cell(own_game, 100, "label_id", "9")
    with pytest.raises(ResumeError, match=r"inputs: train_meta changed") as caught:
        build(source_of(own_game), stopped, SMALL, resume=True)
    assert "--overwrite" in str(caught.value)


def test_resuming_with_a_changed_frame_is_refused(
    own_game: Game, stopped: Path, small: str
) -> None:
    frame = min(own_game.img_root.iterdir())
    before, when = frame.read_bytes(), frame.stat()
    frame.write_bytes(before[:-1])
    with pytest.raises(ResumeError, match=f"{frame.name} changed, or was touched, since") as caught:
        build(source_of(own_game), stopped, SMALL, resume=True)
    assert "--overwrite" in str(caught.value)
    frame.write_bytes(before)
    os.utime(frame, ns=(when.st_atime_ns, when.st_mtime_ns))
    build(source_of(own_game), stopped, SMALL, resume=True)
    assert digest_of(stopped) == small


def test_resuming_when_only_the_rename_is_left_looks_at_the_frames_too(
    own_game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.lmdb"

    def cut_short(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lmdb_reid.store._places.give_name", cut_short)
        build(source_of(own_game), out, SMALL)
    frame = min(own_game.img_root.iterdir())
    before, when = frame.read_bytes(), frame.stat()
    frame.write_bytes(before[:-1])
    with pytest.raises(ResumeError, match=r"a frame changed.*--overwrite"):
        build(source_of(own_game), out, SMALL, resume=True)
    assert not out.exists()
    frame.write_bytes(before)
    os.utime(frame, ns=(when.st_atime_ns, when.st_mtime_ns))
    build(source_of(own_game), out, SMALL, resume=True)
    assert Store(out).verify(deep=True).ok


def test_what_a_strict_build_leaves_is_told(own_game: Game, tmp_path: Path) -> None:
    min(own_game.img_root.iterdir()).write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"o\.lmdb\.partial: fix .* --overwrite, which discards"):
        build(source_of(own_game), tmp_path / "o.lmdb", SMALL, strict=True)


def test_a_column_that_stands_twice_is_refused(own_game: Game, tmp_path: Path) -> None:
    lines = own_game.train_meta.read_text().splitlines()
    own_game.train_meta.write_text("\n".join(f"{line},{line.split(',')[4]}" for line in lines))
    with pytest.raises(SourceError, match="more than one column 'x'"):
        build(source_of(own_game), tmp_path / "o.lmdb", SMALL)


def test_a_csv_with_semicolons_gives_the_same_store(own_game: Game, tmp_path: Path) -> None:
    build(source_of(own_game), tmp_path / "a.lmdb", SMALL)
    text = own_game.train_meta.read_text().replace(",", ";")
    own_game.train_meta.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    build(source_of(own_game), tmp_path / "b.lmdb", SMALL)
    with Store(tmp_path / "a.lmdb") as commas, Store(tmp_path / "b.lmdb") as semicolons:
        assert commas.manifest.digest == semicolons.manifest.digest


def test_a_csv_with_another_separator_is_refused_with_a_hint(
    own_game: Game, tmp_path: Path
) -> None:
    own_game.train_meta.write_text(own_game.train_meta.read_text().replace(",", "|"))
    with pytest.raises(SourceError, match="separated by commas, semicolons or tabs"):
        build(source_of(own_game), tmp_path / "o.lmdb", SMALL)


@pytest.mark.parametrize(
    ("source", "settings", "told"),
    [
        ("train.csv", None, "build reads a source"),
        (None, {"size": 3}, "settings are BuildSettings"),
    ],
)
def test_arguments_of_build_that_are_something_else(
    source: Any, settings: Any, told: str, own_game: Game, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        build(source or source_of(own_game), tmp_path / "o.lmdb", settings)


def test_resuming_without_a_frame_that_was_cut_is_refused(own_game: Game, stopped: Path) -> None:
    frame = min(own_game.img_root.iterdir())
    frame.unlink()
    with pytest.raises(ResumeError, match=rf"{frame.stem} was cut already.*--overwrite"):
        build(source_of(own_game), stopped, SMALL, resume=True, max_skipped=0.1)


def test_resuming_over_a_frame_that_still_cannot_be_read(own_game: Game, tmp_path: Path) -> None:
    frame = min(own_game.img_root.iterdir())
    frame.unlink()
    frame.symlink_to("nowhere.jpg")
    last = max(own_game.img_root.iterdir())
    kept = last.read_bytes()
    last.write_bytes(b"")
    out = tmp_path / "o.lmdb"
    with pytest.raises(TooManySkippedError):
        build(source_of(own_game), out, SMALL, max_skipped=0.1)
    with StoreWriter(out, settings=_settings_of(out), resume=True) as writer:
        writer.commit()
        writer.close()
    last.write_bytes(kept)
    report = build(source_of(own_game), out, SMALL, resume=True, max_skipped=0.1)
    assert len(report.skipped) == 10


def _settings_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{out}.partial/work/settings.json").read_bytes())
    return found


def test_settings_that_were_lost_are_written_again(own_game: Game, stopped: Path) -> None:
    # As a power failure at the very start of a build may leave it.
    partial = Path(f"{stopped}.partial")
    for path in [partial / "data.mdb", *(partial / "work").iterdir()]:
        path.unlink()
    (partial / "work" / "settings.json").write_bytes(b"")
    source = source_of(own_game)
    with pytest.raises(KeyboardInterrupt):
        build(source, stopped, SMALL, resume=True, num_workers=1, progress=_interrupt)
    with pytest.raises(ResumeError, match="seed was 0, is now 1"):
        build(source, stopped, BuildSettings(size=(64, 32), seed=1), resume=True)


def _interrupt(done: int, total: int, crops: int) -> None:
    raise KeyboardInterrupt


def test_resuming_nothing_begins(game: Game, tmp_path: Path, small: str) -> None:
    build(source_of(game), tmp_path / "o.lmdb", SMALL, resume=True)
    assert digest_of(tmp_path / "o.lmdb") == small


# two builds at once


@pytest.mark.parametrize("more", [{"resume": True}, {"overwrite": True}])
def test_two_builds_of_one_store(
    game: Game, tmp_path: Path, small: str, more: dict[str, Any]
) -> None:
    out, refused = tmp_path / "o.lmdb", []

    def second(done: int, total: int, crops: int) -> None:
        with pytest.raises(StoreBusyError, match="is being written by another process") as caught:
            build(source_of(game), out, SMALL, **more)
        refused.append(caught.value)

    build(source_of(game), out, SMALL, progress=second)
    assert len(refused) == game.frames
    assert digest_of(out) == small


def test_a_build_by_another_process_is_left_alone(
    game: Game, tmp_path: Path, watched: Callable[..., Any], small: str
) -> None:
    out, codes = tmp_path / "o.lmdb", []

    def second(done: int, total: int, crops: int) -> None:
        if done == 2:
            told = watched(*words_of(game, out, "--resume"), folder=tmp_path / "nothing")
            codes.append(told.code)
            assert "is being written by another process" in told.err
            told = watched(*words_of(game, out), folder=tmp_path / "nothing")
            codes.append(told.code)
            assert f"{out}.partial" in told.err

    build(source_of(game), out, SMALL, progress=second)
    assert codes == [1, 1]
    assert digest_of(out) == small


def test_a_second_build_in_the_moment_of_the_exchange(
    game: Game, own_store: Path, monkeypatch: Any, small: str
) -> None:
    exchange, refused = _disk.exchange, []

    def exchanged(one: Path, other: Path) -> bool:
        monkeypatch.setattr(_disk, "exchange", exchange)
        done = exchange(one, other)
        for more in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises((StoreBusyError, StoreExistsError)) as caught:
                build(source_of(game), own_store, SMALL, **more)  # type: ignore[arg-type]
            refused.append(caught.value)
        return done

    monkeypatch.setattr(_disk, "exchange", exchanged)
    build(source_of(game), own_store, SMALL, overwrite=True)
    assert len(refused) == 3
    assert digest_of(own_store) == small
    assert left_in(own_store.parent) == ["own.lmdb"]


# places


def test_under_a_file(game: Game, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "o.lmdb"
    with pytest.raises(StoreWriteError, match=r"writing .*o\.lmdb failed: "):
        build(source_of(game), out, SMALL)
    assert main(words_of(game, out)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_without_permission(game: Game, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere: see the read-only file system below")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreWriteError, match="Permission denied"):
        build(source_of(game), folder / "o.lmdb", SMALL)
    assert list(folder.iterdir()) == []


class Disk:
    """A small file system in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")

    def remount(self, options: str) -> None:
        words = ["mount", "-o", f"remount,{options}", str(self.place)]
        subprocess.run(words, check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def test_a_read_only_file_system(game: Game, disk: Disk) -> None:
    disk.mount("ro,size=1m")
    with pytest.raises(StoreWriteError, match="Read-only file system"):
        build(source_of(game), disk.place / "o.lmdb", SMALL)


def test_no_space_left(game: Game, small: str, disk: Disk, monkeypatch: Any) -> None:
    monkeypatch.setattr(_growing, "COMMIT_BYTES", 20_000)
    out, pages, refused = disk.place / "o.lmdb", 1, 0
    disk.mount("size=16m")
    while not out.exists():  # the disk is full in every part of a build, and at last in none
        disk.remount(f"size={pages * 4096}")
        try:
            build(source_of(game), out, SMALL)
        except StoreWriteError as error:
            told = str(error)
            refused += 1
            assert "o.lmdb failed: " in told
            assert "No space left" in told or "Input/output error" in told  # a write in part
            assert not out.exists()
            disk.remount("size=16m")
            build(source_of(game), out, SMALL, resume=True)  # with the error still at hand
            assert digest_of(out) == small, pages
            shutil.rmtree(out)
            pages = max(pages + 1, int(pages * 1.3))
    assert refused > 10
    assert digest_of(out) == small


def test_no_space_left_says_what_to_do(game: Game, disk: Disk, monkeypatch: Any) -> None:
    monkeypatch.setattr(_growing, "COMMIT_BYTES", 20_000)
    out, pages = disk.place / "o.lmdb", 1
    disk.mount("size=16m")
    while not out.exists():
        disk.remount(f"size={pages * 4096}")
        try:
            build(source_of(game), out, SMALL, overwrite=True)
        except StoreWriteError as error:
            told = str(error)
            assert "free some space" in told, pages
            assert "--resume" in told, pages
            pages = max(pages + 1, int(pages * 1.3))


def test_no_space_left_while_it_is_sealed(game: Game, disk: Disk, small: str) -> None:
    out = disk.place / "o.lmdb"
    disk.mount("size=16m")

    def fill(done: int, total: int, crops: int) -> None:
        if done == total:
            used = os.statvfs(disk.place)
            disk.remount(f"size={(used.f_blocks - used.f_bfree) * used.f_frsize}")

    with pytest.raises(StoreWriteError, match="No space left on device") as caught:
        build(source_of(game), out, SMALL, progress=fill)
    assert "free some space" in str(caught.value)
    assert "--resume" in str(caught.value)
    disk.remount("size=16m")
    build(source_of(game), out, SMALL, resume=True)
    assert digest_of(out) == small


def test_the_old_store_survives_a_full_disk(
    game: Game, sealed: Path, disk: Disk, small: str
) -> None:
    needed = sum(path.stat().st_size for path in sealed.rglob("*"))
    disk.mount(f"size={needed + 400_000}")
    out = disk.place / "o.lmdb"
    shutil.copytree(sealed, out)
    before = digest_of(out)
    with pytest.raises(StoreWriteError, match=r"No space left|Input/output error"):
        build(source_of(game), out, SMALL, overwrite=True)
    assert digest_of(out) == before
    disk.remount("size=64m")
    build(source_of(game), out, SMALL, resume=True)
    assert digest_of(out) == small


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from lmdb_reid.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def test_a_file_that_may_not_grow(game: Game, tmp_path: Path, small: str) -> None:
    out = tmp_path / "o.lmdb"
    words = words_of(game, out, "--size", "64x32")
    for limit, more in ((100, []), (50_000, ["--overwrite"]), (150_000, ["--resume"])):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), *words, *more],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, (limit, done.stderr)
        (told,) = done.stderr.splitlines()
        assert told.startswith(f"lmdb-reid build: error: writing {out} failed: ")
        assert "File too large" in told or "Input/output error" in told
        assert not out.exists()
    build(source_of(game), out, SMALL, resume=True)
    assert digest_of(out) == small


# stores that were damaged


@pytest.mark.parametrize("left", [0, 1, 4096, 0.5, -4096, -1])
def test_data_that_was_cut_short_is_refused(own_store: Path, left: float) -> None:
    data = own_store / "data.mdb"
    size = data.stat().st_size
    with data.open("r+b") as file:
        file.truncate(int(size * left) if 0 < left < 1 else int(left % size))
    with pytest.raises(StoreDamagedError, match=rf"data\.mdb has \d+ bytes; .* says {size}"):
        Store(own_store)


def test_data_of_another_store_is_refused(game: Game, own_store: Path, tmp_path: Path) -> None:
    build(source_of(game), tmp_path / "b.lmdb", BuildSettings(seed=1))
    shutil.copy(tmp_path / "b.lmdb" / "data.mdb", own_store / "data.mdb")
    with pytest.raises(StoreDamagedError, match=r"data\.mdb"):
        Store(own_store)


@pytest.mark.parametrize("backwards", [False, True])
def test_data_of_a_twin_is_refused(tmp_path: Path, backwards: bool) -> None:
    # Only two labels differ: the two files have the same size and the same counts.
    image = codec.encode(np.zeros((8, 8, 3), np.uint8))
    for name, labels in (("a", (0, 1)), ("b", (1, 0))):
        with StoreWriter(tmp_path / name) as writer:
            for key, label in sorted(zip("xy", labels, strict=True), reverse=backwards):
                writer.put(key, image, {"label": label})
            writer.seal()
    one, other = (tmp_path / name / "data.mdb" for name in "ab")
    assert one.stat().st_size == other.stat().st_size
    shutil.copy(one, other)
    with pytest.raises(StoreDamagedError, match=r"data\.mdb is not the file that was sealed"):
        Store(tmp_path / "b")


def test_data_that_is_gone_or_no_lmdb_is_refused(own_store: Path) -> None:
    data = own_store / "data.mdb"
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(StoreDamagedError, match=r"data\.mdb cannot be opened by LMDB"):
        Store(own_store)
    data.unlink()
    with pytest.raises(StoreDamagedError, match=r"data\.mdb cannot be read"):
        Store(own_store)


def test_one_flipped_byte_of_an_image(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(own_store) as store:
        at = len(store) // 2
        sample, other = store.at(at), store.ids[at + 1]
    data = own_store / "data.mdb"
    whole = bytearray(data.read_bytes())
    place = whole.index(sample.jpeg) + len(sample.jpeg) // 2
    whole[place] ^= 0x10
    data.write_bytes(whole)
    with Store(own_store) as store:
        with pytest.raises(CorruptSampleError, match=re.escape(sample.id)):
            store[sample.id]
        store[other]
        for deep in (False, True):
            findings = store.verify(deep=deep)
            assert findings.count == 1
            assert sample.id in findings.problems[0]
    assert main(["verify", str(own_store)]) == 1
    assert sample.id in capsys.readouterr().out
    assert main(["get", str(own_store), sample.id, "-o", str(own_store / "x.jpg")]) == 1
    assert sample.id in capsys.readouterr().err
    assert not (own_store / "x.jpg").exists()
