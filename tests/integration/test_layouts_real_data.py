"""Layouts of real data sets, which lie outside the repository."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import (
    MOT,
    BuildSettings,
    ColumnRoles,
    Csv,
    Folder,
    Market1501,
    TrackFilter,
    build,
)
from builders.cutting import cut
from lmdb_reid import codec
from lmdb_reid.schema import Box
from lmdb_reid.store import Store

pytestmark = pytest.mark.data
NATIVE = BuildSettings(size=None)
Named = dict[tuple[str, int, int, int, int], int]
"""A label by image and box."""


def folder_of(shared_data: Path, name: str) -> Path:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {shared_data / name}")
    return shared_data / name


def laid_out(folder: Path, out: Path) -> dict[str, str]:
    """Sequences as MOT Challenge has them, by links; the sets' own name of each frame's key."""
    names = {}
    with (folder / "source_map.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sequence, frame = row["sequence"], int(row["source_frame"])
            images = out / sequence / "img1"
            images.mkdir(parents=True, exist_ok=True)
            (images / f"{frame:06d}.jpg").symlink_to(folder / "images" / row["image"])
            names[f"{sequence}/img1/{frame:06d}"] = row["image"].removesuffix(".jpg")
    for sequence in out.iterdir():
        own = folder / "source" / sequence.name
        source = own if own.is_dir() else folder / "source"
        tracks = source / "gt.txt"
        (sequence / "gt").mkdir()
        gt = tracks if tracks.exists() else source / "gt" / "gt.txt"
        (sequence / "gt" / "gt.txt").symlink_to(gt)
        for ini in source.glob("*.ini"):
            (sequence / ini.name).symlink_to(ini)
    return names


def expected(folder: Path) -> Named:
    with (folder / "train_meta.csv").open(newline="") as file:
        return {
            (
                f"{row['quarter']}__{row['angle']}__00__{int(row['frame']):02d}",
                *(round(float(row[side])) for side in "xywh"),
            ): int(row["label_id"])
            for row in csv.DictReader(file)
        }


def found(source: MOT, names: dict[str, str]) -> Named:
    listing = source.read()
    assert not listing.skipped
    return {
        (names[frame.key], *(round(side) for side in row.box)): row.label
        for frame in listing.frames
        for row in frame.rows
        if row.box is not None
    }


def check_partition(one: Named, other: Named) -> None:
    """The same boxes, and the same people by other numbers."""
    assert one.keys() == other.keys()
    pairs = {(one[box], other[box]) for box in one}
    assert len(pairs) == len({*one.values()}) == len({*other.values()})
    assert {mine for mine, their in pairs if their == -1} <= {-1}


def test_mot17_gives_the_boxes_and_people_of_its_csv(shared_data: Path, tmp_path: Path) -> None:
    folder = folder_of(shared_data, "mot17_mini")
    names = laid_out(folder, tmp_path / "mot")
    source = MOT(tmp_path / "mot", wanted=TrackFilter(classes=(1,), unlabelled_classes=(2, 7, 8)))
    boxes = found(source, names)
    assert len(boxes) == 937
    assert len({*boxes.values()} - {-1}) == 137
    check_partition(boxes, expected(folder))
    report = build(source, tmp_path / "o.lmdb")
    assert (report.kinds["person"], report.identities, report.skipped) == (937, 137, [])


def test_soccer_gives_the_boxes_and_people_of_its_csv(shared_data: Path, tmp_path: Path) -> None:
    folder = folder_of(shared_data, "soccer_snmot116")
    names = laid_out(folder, tmp_path / "mot")
    source = MOT(tmp_path / "mot", frames_present=True)
    boxes = found(source, names)
    assert len(boxes) == 5365
    check_partition(boxes, expected(folder))
    reasons = Counter(one.reason for one in source.read().dropped)
    assert reasons["its track is the ball (gameinfo.ini)"] == 724
    with (folder / "labels.csv").open(newline="") as file:
        of_track = {f"SNMOT-116/{row['trackletID']}": row for row in csv.DictReader(file)}
    for frame in source.read().frames[:20]:
        for row in frame.rows:
            given = of_track[str(row.fields["track"])]
            assert row.label == int(given["label_id"])
            assert f"{row.fields['role']};{row.fields['shirt']}" == given["description"]


@pytest.mark.parametrize(
    ("name", "crops", "identities"), [("reid_rugby", 859, 328), ("reid_netball", 632, 150)]
)
def test_crops_of_broadcasts_as_market1501(
    shared_data: Path, tmp_path: Path, name: str, crops: int, identities: int
) -> None:
    root = folder_of(shared_data, name)
    report = build(Market1501(root), tmp_path / "o.lmdb", NATIVE)
    assert (report.samples, report.identities) == (crops, identities)
    with Store(tmp_path / "o.lmdb") as store:
        cameras, splits = store.columns["camera"], store.columns["split"]
        assert {*np.asarray(cameras).tolist()} == {1, 2}
        assert len({*np.asarray(splits).tolist()}) == 2
        for sample_id in list(store)[::50]:
            assert store[sample_id].jpeg == (root / f"{sample_id}.jpg").read_bytes()
            assert store[sample_id].label == int(sample_id.rpartition("/")[2].partition("_")[0])


def test_small_crops_as_folders(shared_data: Path, tmp_path: Path) -> None:
    root = folder_of(shared_data, "reid_col780_48x128")
    options: dict[str, Any] = {"names": r"(?P<camera>\d+)_(?P<frame>\d+)"}
    source = Folder(root, leave_out=("val/all_imgs",), **options)
    report = build(source, tmp_path / "o.lmdb", NATIVE)
    assert (report.samples, report.identities) == (1393 - 192, 62 + 12)
    with Store(tmp_path / "o.lmdb") as store:
        records = [store[name].record for name in store]
        people = {
            split: {one["person"] for one in records if one["split"] == split}
            for split in ("train", "query", "gallery")
        }
        assert [len(each) for each in people.values()] == [62, 12, 12]
        assert people["query"] == people["gallery"]
        assert {one["camera"] for one in records} == {1, 2}
        # JPEG data in files called .png stay as they are.
        for name in list(store)[::100]:
            assert store[name].jpeg == (root / f"{name}.png").read_bytes()


def test_a_video_of_soccer_gives_crops_of_the_frames_that_pyav_decodes(
    shared_data: Path, tmp_path: Path
) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    folder = folder_of(shared_data, "soccer_snmot116")
    with (folder / "train_meta.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["quarter"] == "Q1-000"]
    names = sorted({f"Q1-000__side__00__{int(row['frame']):02d}" for row in rows})[:24]
    places = {name: at for at, name in enumerate(names)}
    with av.open(tmp_path / "game.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for name in names:
            image = codec.decode((folder / "images" / f"{name}.jpg").read_bytes())
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    lines = ["frame,x,y,w,h,player"]
    boxes: dict[str, Box] = {}
    for row in rows:
        at = places.get(f"Q1-000__side__00__{int(row['frame']):02d}")
        if at is not None and at % 5 == 0:
            lines.append(",".join([str(at), *(row[side] for side in "xywh"), row["label_id"]]))
            number = sum(key.startswith(f"game/{at:08d}#") for key in boxes)
            boxes[f"game/{at:08d}#{number:03d}"] = Box(*(float(row[side]) for side in "xywh"))
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    columns = ColumnRoles.parse("frame=frame,x=x,y=y,w=w,h=h,label=player")
    source = Csv(tmp_path / "game.mp4", tmp_path / "boxes.csv", columns, first_frame=0)
    report = build(source, tmp_path / "o.lmdb", NATIVE)
    assert (report.kinds["person"], report.skipped) == (len(boxes), [])
    with av.open(tmp_path / "game.mp4") as container, Store(tmp_path / "o.lmdb") as store:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for sample_id, box in boxes.items():
            frame = frames[int(sample_id[5:13])]
            wanted = cut(frame, box, expand=1.2)
            assert wanted is not None
            assert store[sample_id].jpeg == codec.encode(wanted)
