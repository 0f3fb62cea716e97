"""From frames and boxes to a sealed store: what is in it is what the csv and the pixels say."""

from __future__ import annotations

import csv
import dataclasses
import gc
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from builders import AtmaCup, BuildSettings, Listing, Report, build, frames_of, plan
from builders.game import Game
from lmdb_reid import codec
from lmdb_reid.schema import Box, Kind, iou
from lmdb_reid.store import Store, _growing

HEADER = "quarter,angle,session,frame,x,y,w,h,label_id"
NATIVE = BuildSettings(size=None, expand=1.0)
Pixels = npt.NDArray[np.uint8]


def rows_of(train_meta: Path) -> dict[str, dict[str, str]]:
    """The rows of a csv by the sample id that each has to get, read without pandas."""
    counted: Counter[str] = Counter()
    found = {}
    with train_meta.open(newline="") as file:
        for row in csv.DictReader(file):
            session, frame = int(row["session"]), int(row["frame"])
            key = f"{row['quarter']}__{row['angle']}__{session:02d}__{frame:02d}"
            found[f"{key}#{counted[key]:03d}"] = row
            counted[key] += 1
    return found


def box_of(row: Any) -> Box:
    return Box(*(float(row[name]) for name in "xywh"))


def players(store: Store) -> dict[str, Any]:
    return {s: store[s] for s in store if store[s].kind == Kind.PERSON}


def frame_pixels(img_root: Path, sample_id: str) -> Pixels:
    """A frame by Pillow, whose JPEG decoder is not the one under test."""
    with Image.open(img_root / f"{sample_id.partition('#')[0]}.jpg") as image:
        return np.asarray(image.convert("RGB"))


def loss(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def digest_of(path: Path) -> str:
    with Store(path) as store:
        assert store.verify(deep=True).ok
        return store.digest


def gradient(height: int = 200, width: int = 300) -> Pixels:
    """A frame whose red tells the column and whose green tells the row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, 0 * x], axis=-1).astype(np.uint8)


def one_frame(folder: Path, *boxes: str, image: Pixels | None = None, extra: str = "") -> AtmaCup:
    """A source of one lossless frame and these boxes ("x,y,w,h" or "x,y,w,h,label" and more)."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gradient() if image is None else image).save(folder / "Q__side__00__01.png")
    lines = [f"{box},0" if box.count(",") == 3 else box for box in boxes]
    table = folder / "train_meta.csv"
    table.write_text("\n".join([HEADER + extra, *(f"Q,side,0,1,{line}" for line in lines)]) + "\n")
    return AtmaCup(table, folder, bbox_mode="keep")


# what is in the store


def test_every_row_becomes_a_sample_and_every_frame_gives_negatives(
    game: Game, sealed: Path
) -> None:
    with Store(sealed) as store:
        assert store.kinds == {
            "person": game.boxes,
            "background": game.frames,
            "partial": game.boxes,
        }
        assert set(players(store)) == set(rows_of(game.train_meta))


def test_labels_boxes_and_frames_are_the_csvs(game: Game, sealed: Path) -> None:
    with Store(sealed) as store:
        table = store.to_pandas()
        for sample_id, row in rows_of(game.train_meta).items():
            sample = store[sample_id]
            assert sample.label == int(row["label_id"])
            assert Box(*(sample.record[name] for name in "xywh")) == box_of(row)
            assert [sample.record[name] for name in ("quarter", "angle")] == [
                row["quarter"],
                row["angle"],
            ]
            assert [sample.record[name] for name in ("session", "frame")] == [0, int(row["frame"])]
            at = sample.row
            assert store.columns["label"][at] == sample.label
            assert store.columns["x"][at] == sample.record["x"]
            assert table["quarter"].iloc[at] == row["quarter"]


def test_every_sample_decodes_to_the_size_and_the_store_verifies(sealed: Path) -> None:
    with Store(sealed) as store:
        assert store.size == (256, 128)
        assert {sample.image.shape for sample in map(store.at, range(len(store)))} == {
            (256, 128, 3)
        }
        assert store.verify(deep=True).problems == []


def test_samples_of_a_frame_are_neighbours(sealed: Path) -> None:
    with Store(sealed) as store:
        frames = [sample_id.partition("#")[0] for sample_id in store]
    changes = sum(one != other for one, other in pairwise(frames))
    assert changes == len(set(frames)) - 1


def test_a_store_that_was_dropped_holds_no_files(sealed: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not tell what a process has mapped")
    gc.collect()
    gc.disable()  # a deleted file takes space for as long as it is mapped
    try:
        assert digest_of(sealed)
        assert str(sealed) not in maps.read_text()
    finally:
        gc.enable()


# pixels


def test_native_crops_are_the_frames_pixels_within_jpeg_loss(game: Game, tmp_path: Path) -> None:
    build(AtmaCup(game.train_meta, game.img_root), tmp_path / "n.lmdb", NATIVE)
    with Store(tmp_path / "n.lmdb") as store:
        assert store.size is None
        for sample_id, sample in players(store).items():
            frame = frame_pixels(game.img_root, sample_id)
            x, y, w, h = map(int, box_of(sample.record))
            there = frame[max(y, 0) : y + h, max(x, 0) : x + w]
            assert loss(sample.image, there) < 6
            # A cut beside the box would not pass: the next pixel's column is further off.
            beside = frame[max(y, 0) : y + h, max(x, 0) + 1 : x + w + 1]
            if beside.shape == there.shape:
                assert loss(sample.image, beside) > 1.3 * loss(sample.image, there)
            # The loss is the JPEG's alone: no pixel was touched before it was encoded.
            again = codec.decode(
                (game.img_root / f"{sample_id.partition('#')[0]}.jpg").read_bytes()
            )
            cut = again[max(y, 0) : y + h, max(x, 0) : x + w]
            assert sample.jpeg == codec.encode(cut, quality=95)


@pytest.mark.parametrize("expand", [1.0, 1.2, 2.0])
@pytest.mark.parametrize(
    "box",
    [
        (100, 80, 40, 60),
        (-20, -30, 60, 90),
        (270, 150, 60, 90),
        (-10, -10, 400, 300),
        (10.5, 20.25, 30.5, 40.75),
        (0, 0, 300, 200),
    ],
)
def test_a_box_is_grown_about_its_centre_and_clipped(
    box: tuple[float, ...], expand: float, tmp_path: Path
) -> None:
    source = one_frame(tmp_path, ",".join(map(str, box)))
    build(source, tmp_path / "o.lmdb", BuildSettings(size=None, expand=expand, quality=100))
    x, y, w, h = box
    left, right = (math.floor(x + w / 2 + side * w * expand / 2 + 0.5) for side in (-1, 1))
    top, bottom = (math.floor(y + h / 2 + side * h * expand / 2 + 0.5) for side in (-1, 1))
    wanted = gradient()[max(0, top) : bottom, max(0, left) : right]
    with Store(tmp_path / "o.lmdb") as store:
        image = store["Q__side__00__01#000"].image
    assert image.shape == wanted.shape
    assert loss(image, wanted) < 1.5


def test_a_resized_crop_shows_the_whole_box(tmp_path: Path) -> None:
    build(
        one_frame(tmp_path, "100,50,80,120"),
        tmp_path / "o.lmdb",
        BuildSettings(size=(64, 32), expand=1.0, quality=100),
    )
    with Store(tmp_path / "o.lmdb") as store:
        image = store["Q__side__00__01#000"].image.astype(int)
    assert image.shape == (64, 32, 3)
    columns, lines = image[..., 0].mean(axis=0) * 300 / 255, image[..., 1].mean(axis=1) * 200 / 255
    assert columns[[0, -1]] == pytest.approx([101.25, 178.75], abs=3)
    assert lines[[0, -1]] == pytest.approx([50.9, 169.1], abs=3)


def test_content_decides_what_a_frame_is(tmp_path: Path) -> None:
    source = one_frame(tmp_path, "100,80,40,60")
    digests = set()
    for name, kind in [("png", "PNG"), ("bmp", "PNG"), ("webp", "BMP"), ("jpg", "PNG")]:
        (only,) = tmp_path.glob("Q__*")
        only.unlink()
        Image.fromarray(gradient()).save(tmp_path / f"Q__side__00__01.{name}", format=kind)
        build(source, tmp_path / f"{name}.lmdb")
        digests.add(digest_of(tmp_path / f"{name}.lmdb"))
    assert len(digests) == 1


def test_a_rotated_frame_is_cut_as_it_should_be_seen(tmp_path: Path) -> None:
    source = one_frame(tmp_path, "100,80,40,60")
    build(source, tmp_path / "upright.lmdb", NATIVE)
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored picture has to be turned a quarter clockwise
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(gradient())))
    turned.save(tmp_path / "Q__side__00__01.png", exif=exif)
    build(source, tmp_path / "turned.lmdb", NATIVE)
    assert digest_of(tmp_path / "turned.lmdb") == digest_of(tmp_path / "upright.lmdb")


# the same content, however it is made


def test_workers_do_not_matter(game: Game, sealed: Path, tmp_path: Path) -> None:
    with Store(sealed) as store:
        wanted = store.digest
    for num_workers in (1, 2, 5):
        path = tmp_path / f"{num_workers}.lmdb"
        build(AtmaCup(game.train_meta, game.img_root), path, num_workers=num_workers)
        assert digest_of(path) == wanted


def test_paths_do_not_matter(own_game: Game, sealed: Path, tmp_path: Path) -> None:
    build(AtmaCup(own_game.train_meta, own_game.img_root), tmp_path / "b.lmdb")
    with Store(sealed) as store:
        assert digest_of(tmp_path / "b.lmdb") == store.digest


@pytest.mark.parametrize(
    "settings",
    [
        BuildSettings(seed=1),
        BuildSettings(expand=1.0),
        BuildSettings(quality=94),
        BuildSettings(size=(128, 64)),
        BuildSettings(num_bg_per_frame=0),
    ],
)
def test_settings_matter(game: Game, sealed: Path, tmp_path: Path, settings: BuildSettings) -> None:
    build(AtmaCup(game.train_meta, game.img_root), tmp_path / "b.lmdb", settings)
    with Store(sealed) as store:
        assert digest_of(tmp_path / "b.lmdb") != store.digest


class Shuffled:
    """The frames of another source, listed in another order."""

    name, roles = "shuffled", AtmaCup.roles

    def __init__(self, source: AtmaCup) -> None:
        self._source = source

    def read(self) -> Listing:
        listing = self._source.read()
        return dataclasses.replace(listing, frames=frames_of(reversed(listing.frames)))


def test_the_order_of_frames_does_not_matter(game: Game, sealed: Path, tmp_path: Path) -> None:
    source: Any = Shuffled(AtmaCup(game.train_meta, game.img_root))
    build(source, tmp_path / "s.lmdb")
    with Store(sealed) as store:
        assert digest_of(tmp_path / "s.lmdb") == store.digest


def test_the_maps_first_size_does_not_matter(
    game: Game, scratch: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    # One page more each time, so that the map is full at every moment of a build that there is.
    lines = game.train_meta.read_text().splitlines()
    few = [line for line in lines[1:] if line.startswith("Q1-000,side") and line.endswith("3")]
    (tmp_path / "m.csv").write_text("\n".join([lines[0], *few]) + "\n")
    source = AtmaCup(tmp_path / "m.csv", game.img_root)
    settings = BuildSettings(size=(64, 32), num_bg_per_frame=4)
    digests = set()
    monkeypatch.setattr(_growing, "COMMIT_BYTES", 10_000)
    for pages in range(16, 48):
        monkeypatch.setattr(_growing, "FIRST_MAP", pages * 4096)
        build(
            source,
            scratch / "m.lmdb",
            settings,
            overwrite=True,
            num_workers=1,
        )
        digests.add(digest_of(scratch / "m.lmdb"))
    assert len(digests) == 1


# each frame once


def test_a_build_opens_each_frame_once(
    game: Game, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    words = ["build", "--format", "atmacup", "--train-meta", game.train_meta]
    words += ["--img-root", game.img_root, "--out", tmp_path / "w.lmdb", "--num-workers", 2]
    done = watched(*words, folder=game.img_root)
    assert done.code == 0, done.err
    assert done.opened == {path.name: 1 for path in game.img_root.iterdir()}


def test_a_build_decodes_each_frame_once(game: Game, tmp_path: Path, monkeypatch: Any) -> None:
    decoded = []
    read_source = codec.read_source

    def counted(data: bytes, *rest: Any) -> Pixels:
        decoded.append(data)
        return read_source(data, *rest)

    monkeypatch.setattr(codec, "read_source", counted)
    build(AtmaCup(game.train_meta, game.img_root), tmp_path / "b.lmdb")
    assert sorted(decoded) == sorted(path.read_bytes() for path in game.img_root.iterdir())


def test_a_dry_run_opens_each_frame_and_cuts_some_and_writes_nothing(
    game: Game, tmp_path: Path, watched: Callable[..., Any]
) -> None:
    words = ["build", "--format", "atmacup", "--train-meta", game.train_meta, "--dry-run"]
    words += ["--img-root", game.img_root, "--out", tmp_path / "place" / "w.lmdb"]
    done = watched(*words, folder=game.img_root)
    assert done.code == 0, done.err
    assert done.opened.keys() == {path.name for path in game.img_root.iterdir()}
    assert set(done.opened.values()) <= {1, 2}  # once more where it is cut, for the time
    assert "would write" in done.out
    assert not (tmp_path / "place").exists()


def test_a_dry_run_reads_headers_only(own_game: Game, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("builders.estimate._MOST_FRAMES", 0)  # which are cut, for the time
    source = AtmaCup(own_game.train_meta, own_game.img_root)
    wanted = plan(source, tmp_path / "o.lmdb").kinds
    padding = 4 << 20
    for path in own_game.img_root.iterdir():
        with path.open("ab") as file:
            file.truncate(path.stat().st_size + padding)
    for name in ("decode", "read_source", "encode"):
        monkeypatch.setattr(codec, name, None)
    before = _bytes_read()
    assert plan(source, tmp_path / "o.lmdb").kinds == wanted
    assert _bytes_read() - before < own_game.frames * padding / 8


def _bytes_read() -> int:
    """By this process so far, from files."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("this system does not count what a process reads")
    return int(counters.read_text().split()[1])


@pytest.mark.parametrize("mode", ["drop", "interp", "keep"])
@pytest.mark.parametrize(
    "settings",
    [
        BuildSettings(),
        BuildSettings(num_bg_per_frame=3, num_partial_per_box=2, seed=7),
        BuildSettings(size=None, num_bg_per_frame=0, num_partial_per_box=0),
    ],
)
def test_a_dry_run_counts_what_the_build_writes(
    own_game: Game, tmp_path: Path, mode: Any, settings: BuildSettings
) -> None:
    spoil(own_game)
    source = AtmaCup(own_game.train_meta, own_game.img_root, bbox_mode=mode)
    expected = plan(source, tmp_path / "o.lmdb", settings)
    report = build(source, tmp_path / "o.lmdb", settings, max_skipped=0.5)
    for name in ("kinds", "identities", "frames", "rows", "skipped", "dropped", "samples"):
        assert getattr(expected, name) == getattr(report, name), name
    assert len(report.skipped) == 13
    assert expected.dry_run
    assert not report.dry_run


def spoil(game: Game) -> None:
    """Two rows that cannot be used, one frame that cannot be read, one outlier."""
    lines = game.train_meta.read_text().splitlines()
    lines[3] = lines[3].replace(",side,0,1,", ",side,0,1,9")  # far to the right of the frame
    fields = lines[17].split(",")
    lines[17] = ",".join([*fields[:6], "0", *fields[7:]])
    fields = lines[16].split(",")
    lines[16] = ",".join([*fields[:4], "5", "5", "300", "300", fields[8]])
    fields = lines[33].split(",")
    lines[33] = ",".join([*fields[:8], "seven"])
    game.train_meta.write_text("\n".join(lines) + "\n")
    (game.img_root / "Q2-000__top__00__02.jpg").write_bytes(b"no picture")


# names


def test_settings_and_unusable_rows_rename_no_sample(own_game: Game, tmp_path: Path) -> None:
    wanted = rows_of(own_game.train_meta)
    spoil(own_game)
    seen: dict[str, set[str]] = {}
    for mode in ("drop", "interp", "keep"):
        source = AtmaCup(own_game.train_meta, own_game.img_root, bbox_mode=mode)  # type: ignore[arg-type]
        build(source, tmp_path / f"{mode}.lmdb", max_skipped=0.5)
        with Store(tmp_path / f"{mode}.lmdb") as store:
            found = players(store)
            seen[mode] = set(found)
            for sample_id, sample in found.items():
                assert sample.label == int(wanted[sample_id]["label_id"])
                if mode == "keep" and sample.record["w"] != 300:
                    assert Box(*(sample.record[n] for n in "xywh")) == box_of(wanted[sample_id])
    assert seen["keep"] == seen["interp"]
    assert seen["keep"] - seen["drop"] == {outlier_id(own_game)}
    assert len(seen["keep"]) == own_game.boxes - 13


def outlier_id(game: Game) -> str:
    """The sample that `spoil` made too large: line 17 of the csv."""
    return list(rows_of(game.train_meta))[15]


# tracks


def test_drop_lists_the_outlier_and_interp_replaces_it(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    boxes = {1: (10, 10, 20, 40), 2: (15, 15, 100, 100), 3: (21, 20, 22, 44), 4: (30, 30, 20, 40)}
    for frame in boxes:
        Image.fromarray(gradient()).save(folder / f"Q__side__00__{frame:02d}.png")
    lines = [f"Q,side,0,{frame},{','.join(map(str, box))},4" for frame, box in boxes.items()]
    (folder / "m.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    found = {}
    for mode in ("drop", "interp", "keep"):
        source = AtmaCup(folder / "m.csv", folder, bbox_mode=mode)  # type: ignore[arg-type]
        report = build(source, tmp_path / f"{mode}.lmdb")
        assert [row.where for row in report.dropped] == (["m.csv line 3"] if mode == "drop" else [])
        assert report.skipped == []
        with Store(tmp_path / f"{mode}.lmdb") as store:
            found[mode] = {
                s: Box(*(v.record[n] for n in "xywh")) for s, v in players(store).items()
            }
            assert store.kinds["background"] == 4
    outlier = "Q__side__00__02#000"
    assert set(found["drop"]) == set(found["keep"]) - {outlier}
    assert found["interp"][outlier] == (15.5, 15.0, 21.0, 42.0)
    assert found["keep"][outlier] == boxes[2]


# negatives


@pytest.fixture(scope="module")
def crowded(game: Game, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native store with many negatives."""
    path = tmp_path_factory.mktemp("crowded") / "c.lmdb"
    settings = BuildSettings(size=None, expand=1.5, num_bg_per_frame=6, num_partial_per_box=3)
    build(AtmaCup(game.train_meta, game.img_root), path, settings)
    return path


def test_negatives_keep_away_from_people(game: Game, crowded: Path) -> None:
    boxes: dict[str, list[Box]] = defaultdict(list)
    rows = rows_of(game.train_meta)
    for sample_id, row in rows.items():
        boxes[sample_id.partition("#")[0]].append(box_of(row))
    seen: Counter[Kind] = Counter()
    with Store(crowded) as store:
        for sample in map(store.at, range(len(store))):
            if sample.kind == Kind.PERSON:
                continue
            seen[sample.kind] += 1
            x, y, w, h = box = Box(*(sample.record[name] for name in "xywh"))
            assert sample.label == -1
            assert min(w, h) >= 8
            assert (x >= 0 and y >= 0) and (x + w <= 640 and y + h <= 360)
            frame, _, name = sample.id.partition("#")
            if sample.kind == Kind.BACKGROUND:
                assert name.startswith("bg")
                assert 0.1 <= w / 640 <= 0.4
                assert 0.1 <= h / 360 <= 0.4
                assert all(iou(box, other) < 0.1 for other in boxes[frame])
            else:
                person = box_of(rows[sample.id.rpartition("p")[0]])
                assert iou(box, person) < 0.4
                assert 0.3 <= w / person.w <= 0.7
                assert 0.3 <= h / person.h <= 0.7
                assert person.x <= x
                assert x + w <= person.x + person.w
    assert 0 < seen[Kind.BACKGROUND] <= 6 * game.frames
    assert 0 < seen[Kind.PARTIAL] <= 3 * game.boxes


def test_negatives_are_cut_as_they_are_and_share_the_frames_columns(
    game: Game, crowded: Path
) -> None:
    with Store(crowded) as store:
        negatives = [s for s in map(store.at, range(len(store))) if s.kind != Kind.PERSON]
        for sample in negatives[::7]:
            x, y, w, h = (int(sample.record[name]) for name in "xywh")
            there = frame_pixels(game.img_root, sample.id)[y : y + h, x : x + w]
            assert loss(sample.image, there) < 5
            quarter, angle, session, frame = sample.id.partition("#")[0].split("__")
            told = [sample.record[name] for name in ("quarter", "angle", "session", "frame")]
            assert told == [quarter, angle, int(session), int(frame)]


def test_more_slots_leave_the_others_as_they_are(game: Game, tmp_path: Path) -> None:
    samples = []
    for count in (1, 3):
        settings = BuildSettings(num_bg_per_frame=count, num_partial_per_box=count)
        build(AtmaCup(game.train_meta, game.img_root), tmp_path / f"{count}.lmdb", settings)
        with Store(tmp_path / f"{count}.lmdb") as store:
            samples.append({s: (store[s].jpeg, store[s].record) for s in store})
    few, many = samples
    assert len(few) < len(many)
    assert few.items() <= many.items()


def test_no_negatives_where_none_are_wanted(game: Game, tmp_path: Path) -> None:
    settings = BuildSettings(num_bg_per_frame=0, num_partial_per_box=0)
    report = build(AtmaCup(game.train_meta, game.img_root), tmp_path / "n.lmdb", settings)
    assert report.kinds == {"person": game.boxes}


def test_a_box_that_is_not_cut_still_keeps_negatives_away(tmp_path: Path) -> None:
    # The second row has no label, yet somebody stands there: all over the frame.
    settings = BuildSettings(num_bg_per_frame=50)
    lonely = one_frame(tmp_path / "a", "5,5,20,40")
    crowd = one_frame(
        tmp_path / "b", "5,5,20,40", "0,0,100,200,x", "100,0,100,200,x", "200,0,100,200,x"
    )
    build(lonely, tmp_path / "a.lmdb", settings)
    report = build(crowd, tmp_path / "b.lmdb", settings, max_skipped=1.0)
    assert len(report.skipped) == 3
    overlaps = {}
    for name in ("a", "b"):
        with Store(tmp_path / f"{name}.lmdb") as store:
            negatives = [v for v in map(store.at, range(len(store))) if v.kind == Kind.BACKGROUND]
        boxes = [Box(*(v.record[side] for side in "xywh")) for v in negatives]
        overlaps[name] = max(iou(b, Box(x, 0, 100, 200)) for b in boxes for x in (0, 100, 200))
    assert overlaps["a"] >= 0.1 > overlaps["b"]


# the csv's further columns


def test_further_columns_become_columns(tmp_path: Path) -> None:
    source = one_frame(
        tmp_path,
        "10,10,20,40,3,0.5,home,12,5,",
        "50,10,20,40,4,,away,7,6,1",
        "90,10,20,40,5,0.25,,9,7,2",
        extra=",score,team,number,line,gap",
    )
    build(source, tmp_path / "o.lmdb", BuildSettings(num_partial_per_box=0))
    with Store(tmp_path / "o.lmdb") as store:
        table = store.to_pandas().loc[[f"Q__side__00__01#{n:03d}" for n in range(3)]]
        assert table["score"].dtype == np.float64
        np.testing.assert_array_equal(table["score"], [0.5, math.nan, 0.25])
        assert table["team"].isna().tolist() == [False, False, True]
        assert table["team"].tolist()[:2] == ["home", "away"]
        np.testing.assert_array_equal(table["number"], [12, 7, 9])
        np.testing.assert_array_equal(table["line"], [5, 6, 7])
        np.testing.assert_array_equal(table["gap"], [math.nan, 1, 2])
        background = store.to_pandas().loc["Q__side__00__01#bg000"]
        assert math.isnan(background["number"])
        assert "gap" not in store["Q__side__00__01#000"].record
        assert store["Q__side__00__01#001"].record["number"] == 7


@pytest.mark.parametrize("name", ["label", "kind", "width", "id", "crc32"])
def test_reserved_names_get_a_prefix(tmp_path: Path, name: str) -> None:
    source = one_frame(tmp_path, "10,10,20,40,3,77", extra=f",{name}")
    build(source, tmp_path / "o.lmdb")
    with Store(tmp_path / "o.lmdb") as store:
        row = store.row("Q__side__00__01#000")
        assert store.columns[f"src_{name}"][row] == 77
        assert store.columns["label"][row] == 3
        assert store.columns["kind"][row] == 0
        assert store.columns["width"][row] == 128


@pytest.mark.parametrize("name", ["line", "number", "key", "fate", "csv:x", "Unnamed", "färbe"])
def test_a_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    source = one_frame(tmp_path, "10,10,20,40,3,77", "40,10,20,40,3,78", extra=f",{name}")
    report = build(source, tmp_path / "o.lmdb")
    assert report.kinds["person"] == 2
    with Store(tmp_path / "o.lmdb") as store:
        assert [store[f"Q__side__00__01#00{n}"].record[name] for n in (0, 1)] == [77, 78]


def test_large_numbers_of_further_columns_keep_every_digit(tmp_path: Path) -> None:
    odd = (1 << 53) + 1
    source = one_frame(tmp_path, f"10,10,20,40,3,{odd}", "40,10,20,40,3,", extra=",track")
    build(source, tmp_path / "o.lmdb")
    with Store(tmp_path / "o.lmdb") as store:
        assert int(store["Q__side__00__01#000"].record["track"]) == odd


def test_spelling_of_the_csv_does_not_matter(game: Game, sealed: Path, tmp_path: Path) -> None:
    with Store(sealed) as store:
        wanted = store.digest
    text = game.train_meta.read_text()
    lines = text.splitlines()
    spellings = {
        "bom": "\ufeff" + text,
        "crlf": text.replace("\n", "\r\n"),
        "blank": "\n".join([*lines[:5], "", *lines[5:], "", ""]),
        "quoted": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in lines),
        "floats": "\n".join([lines[0], *(line + ".0" for line in lines[1:])]),
        "order": "\n".join(_other_order(line) for line in lines),
    }
    for name, spelling in spellings.items():
        table = tmp_path / f"{name}.csv"
        table.write_text(spelling, encoding="utf-8", newline="")
        report = build(AtmaCup(table, game.img_root), tmp_path / f"{name}.lmdb")
        assert (report.rows, report.skipped) == (game.boxes, [])
        assert digest_of(tmp_path / f"{name}.lmdb") == wanted, name


def _other_order(line: str) -> str:
    return ",".join(reversed(line.split(",")))


def test_frames_without_leading_zeros_are_found(own_game: Game, tmp_path: Path) -> None:
    for path in list(own_game.img_root.iterdir()):
        quarter, angle, session, frame = path.stem.split("__")
        path.rename(path.with_name(f"{quarter}__{angle}__{int(session)}__{int(frame)}.jpg"))
    report = build(AtmaCup(own_game.train_meta, own_game.img_root), tmp_path / "o.lmdb")
    assert report.kinds["person"] == own_game.boxes
    with Store(tmp_path / "o.lmdb") as store:
        assert "Q1-000__side__0__1#000" in store


# the report


def test_the_report_lies_beside_the_manifest(own_game: Game, tmp_path: Path) -> None:
    spoil(own_game)
    source = AtmaCup(own_game.train_meta, own_game.img_root)
    report = build(source, tmp_path / "o.lmdb", max_skipped=0.5)
    told = json.loads((tmp_path / "o.lmdb" / "report.json").read_bytes())
    assert told["kinds"] == report.kinds
    assert told["samples"] == report.samples == sum(report.kinds.values())
    assert told["skipped_rows"] == len(told["skipped"]) == 13
    lines = [int(row["where"].removeprefix("train_meta.csv line ")) for row in told["skipped"]]
    assert lines == sorted(lines)
    assert {4, 18, 34} < set(lines)
    assert (
        Report.from_json((tmp_path / "o.lmdb" / "report.json").read_bytes()).kinds == report.kinds
    )
    assert report.size_bytes == sum(
        file.stat().st_size for file in (tmp_path / "o.lmdb").rglob("*") if file.is_file()
    )


def test_progress_counts_every_frame(own_game: Game, tmp_path: Path) -> None:
    spoil(own_game)
    source = AtmaCup(own_game.train_meta, own_game.img_root)
    planned: list[tuple[int, int, int]] = []
    built: list[tuple[int, int, int]] = []
    plan(source, tmp_path / "o.lmdb", progress=lambda *at: planned.append(at))
    report = build(
        source, tmp_path / "o.lmdb", max_skipped=0.5, progress=lambda *at: built.append(at)
    )
    for calls in (planned, built):
        assert [done for done, _, _ in calls] == list(range(1, own_game.frames + 1))
        assert {total for _, total, _ in calls} == {own_game.frames}
        assert calls[-1][2] == report.samples
