"""Builds of photographs that lie outside the repository."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders import AtmaCup, BuildSettings, build, plan
from lmdb_reid import codec
from lmdb_reid.cli.main import main
from lmdb_reid.schema import Box, Kind
from lmdb_reid.store import Store

pytestmark = pytest.mark.data


def folder_of(shared_data: Path, name: str) -> Path:
    folder = shared_data / name
    if not (folder / "train_meta.csv").is_file():
        pytest.skip(f"no {folder / 'train_meta.csv'}")
    return folder


def source_of(folder: Path, **options: Any) -> AtmaCup:
    return AtmaCup(folder / "train_meta.csv", folder / "images", **options)


def labels_of(folder: Path) -> dict[str, int]:
    """The csv's labels by the sample id that each row has to get."""
    counted: Counter[str] = Counter()
    labels = {}
    with (folder / "train_meta.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            session, frame = int(row["session"]), int(row["frame"])
            key = f"{row['quarter']}__{row['angle']}__{session:02d}__{frame:02d}"
            labels[f"{key}#{counted[key]:03d}"] = int(row["label_id"])
            counted[key] += 1
    return labels


def found_labels(store: Store) -> dict[str, int]:
    return {
        sample_id: int(label)
        for sample_id, label, kind in zip(
            store, store.columns["label"], store.columns["kind"], strict=True
        )
        if kind == Kind.PERSON
    }


@pytest.mark.slow
def test_soccer_as_the_command_builds_it(shared_data: Path, tmp_path: Path, capsys: Any) -> None:
    folder, out = folder_of(shared_data, "soccer_snmot116"), tmp_path / "soccer.lmdb"
    words = ["build", "--format", "atmacup", "--train-meta", str(folder / "train_meta.csv")]
    words += ["--img-root", str(folder / "images"), "--out", str(out), "--bbox-mode", "keep"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "5,365 person" in told
    assert "26 identities, from 375 frames" in told
    with Store(out) as store:
        assert store.kinds["person"] == 5365
        assert store.kinds["background"] >= 0.95 * 375
        assert store.kinds["partial"] >= 0.95 * 5365
        assert store.size == (256, 128)
        assert found_labels(store) == labels_of(folder)
        negatives = store.columns["kind"] != Kind.PERSON
        assert set(store.columns["label"][negatives].tolist()) == {-1}
        assert {store.at(row).image.shape for row in range(0, len(store), 50)} == {(256, 128, 3)}
    assert main(["verify", str(out), "--deep"]) == 0


def test_mot17_has_every_row_and_label(shared_data: Path, tmp_path: Path) -> None:
    folder = folder_of(shared_data, "mot17_mini")
    expected = plan(source_of(folder), tmp_path / "m.lmdb")
    report = build(source_of(folder, bbox_mode="keep"), tmp_path / "m.lmdb")
    assert (report.rows, report.frames, report.identities) == (937, 39, 137)
    assert (report.skipped, report.dropped) == ([], [])
    assert expected.kinds == report.kinds
    labels = labels_of(folder)
    assert Counter(labels.values())[-1] == 123
    with Store(tmp_path / "m.lmdb") as store:
        assert found_labels(store) == labels
        assert store.verify(deep=True).ok


def test_mot17_native_crops_are_the_frames_pixels(shared_data: Path, tmp_path: Path) -> None:
    folder = folder_of(shared_data, "mot17_mini")
    settings = BuildSettings(size=None, expand=1.0, num_bg_per_frame=0, num_partial_per_box=0)
    build(source_of(folder), tmp_path / "n.lmdb", settings)
    frames: dict[str, Any] = {}
    outside = 0
    with Store(tmp_path / "n.lmdb") as store:
        for sample_id in store:
            sample = store[sample_id]
            key = sample_id.partition("#")[0]
            if key not in frames:
                with Image.open(folder / "images" / f"{key}.jpg") as image:
                    frames = {key: np.asarray(image.convert("RGB")).astype(int)}
            height, width = frames[key].shape[:2]
            x, y, w, h = map(int, Box(*(sample.record[side] for side in "xywh")))
            there = frames[key][max(y, 0) : min(y + h, height), max(x, 0) : min(x + w, width)]
            outside += there.shape[:2] != (h, w)
            assert sample.image.shape == there.shape
            assert np.abs(sample.image - there).mean() < 5
    assert outside == 98


def test_frames_of_several_sizes_and_samplings_are_read(shared_data: Path, tmp_path: Path) -> None:
    folder = folder_of(shared_data, "mot17_mini")
    sizes = {
        codec.probe_file(path)[:2]
        for path in (folder / "images").iterdir()
        if path.suffix == ".jpg"
    }
    assert len(sizes) > 1
    report = build(
        source_of(folder), tmp_path / "s.lmdb", BuildSettings(size=(64, 32)), num_workers=2
    )
    one = build(source_of(folder), tmp_path / "o.lmdb", BuildSettings(size=(64, 32)), num_workers=1)
    assert report.kinds == one.kinds
    with Store(tmp_path / "s.lmdb") as many, Store(tmp_path / "o.lmdb") as single:
        assert many.digest == single.digest
