"""The way out of a store, and back in with the same digest."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import BuildSettings, Csv, Folder, build
from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.cli import export as export_command
from lmdb_reid.cli.main import main
from lmdb_reid.errors import (
    CorruptSampleError,
    DuplicateSampleError,
    InvalidSampleError,
    SourceError,
    UsageError,
    WriteError,
)
from lmdb_reid.schema import Roles
from lmdb_reid.store import LAYOUTS, cell_text, cell_value, export, merge

NATIVE = BuildSettings(size=None)
VALUES = [
    *(0, 7, -1, 1 << 60, (1 << 64) - 1, 7.0, -0.0, 0.1, 1e300, 5e-324, math.inf, -math.inf),
    *(True, False, "", "7", "7.0", "true", "null", "NaN", "Infinity", "abc", " abc", "abc "),
    *('"abc"', '"abc', "a,b", "a\nb", "a\tb", "ä ö", "[1]", "[1", "{}", "-", "1e5", "0x1", "ß"),
    *([], [1, 2.0, "x", None], {"a": [True]}, {}, b"", b"\x00\xff", [b"x", {"y": b"z"}]),
    *("\u2028", "\x7f", "\u00a0x\u00a0", "=1+1", "'", "01", "1_000", "٣", " ", "#", "None"),
]


def jpeg(shade: int, size: tuple[int, int] = (40, 20)) -> bytes:
    return codec.encode(np.full((*size, 3), shade % 256, np.uint8))


def store_of(path: Path, samples: dict[str, dict[str, Any]], **given: Any) -> Path:
    with StoreWriter(path, **given) as writer:
        for at, (sample_id, record) in enumerate(samples.items()):
            writer.put(sample_id, jpeg(at * 7, (40 + at % 3, 20)), record)
    return path


@pytest.fixture
def various(tmp_path: Path) -> Path:
    """People, unknown ones, and every kind, with fields that some have and others have not."""
    samples: dict[str, dict[str, Any]] = {
        "z/9": {"label": 3, "camera": "left", "x": 1, "y": 2.5, "w": 3, "h": 4},
        "game1/000001#000": {"label": 3, "x": 1.5, "y": 2, "w": 3, "h": 4, "camera": "right"},
        "game1/000001#001": {"label": -1, "camera": "right"},
        "game1/000001#bg000": {"kind": 1, "camera": "right", "x": 7},
        "game1/000001#000p0": {"kind": 2, "camera": "right"},
        "junk": {"kind": 3},
        "distractor": {"kind": 4},
        "ä, ö": {"label": 12, "file": "a", "id": "b", "field.x": 1, "fields": 2, "1": 3},
    }
    roles = Roles(camera="camera")
    return store_of(tmp_path / "various.lmdb", samples, roles=roles)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_value_comes_back_from_its_cell(value: Any) -> None:
    text = cell_text(value)
    again = cell_value(text)
    assert (type(again), again) == (type(value), value)
    assert math.copysign(1, again) == math.copysign(1, value) if value == 0 else True
    assert text == text.strip() != ""
    assert text.isprintable() or "\u2028" in text


def test_a_number_that_is_none_comes_back() -> None:
    assert math.isnan(cell_value(cell_text(math.nan)))
    with pytest.raises(InvalidSampleError, match="cannot be a cell"):
        cell_text({"bytes:base64": "eA=="})


@pytest.mark.parametrize("source", ["csv", "folder"])
@pytest.mark.parametrize("to", LAYOUTS)
def test_out_and_in_again_gives_the_same_store(
    various: Path, tmp_path: Path, to: Any, source: str
) -> None:
    with Store(various) as store:
        table = store.export(tmp_path / "out", to=to)
        root = table.parent
        read = Csv(root) if source == "csv" else Folder(root)
        build(read, tmp_path / "again.lmdb", NATIVE)
        with Store(tmp_path / "again.lmdb") as again:
            assert again.digest == store.digest
            assert again.roles == store.roles
            assert {*again.columns} == {*store.columns}
            for sample_id in store:
                assert again[sample_id].record == store[sample_id].record
                assert again[sample_id].jpeg == store[sample_id].jpeg
            # People first in the order of the source; what has none in it would follow.
            assert again.columns["src_order"].tolist() == store.columns["src_order"].tolist()


def test_the_files_are_byte_for_byte_and_the_csv_says_what_they_are(
    various: Path, tmp_path: Path
) -> None:
    with Store(various) as store:
        export(store, tmp_path / "people", to="folder")
        export(store, tmp_path / "files", to="csv")
        for folder in ("people", "files"):
            with (tmp_path / folder / "samples.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [row["id"] for row in rows][:2] == ["z/9", "game1/000001#000"]
            assert len(rows) == len(store)
            for row in rows:
                assert (tmp_path / folder / row["file"]).read_bytes() == store[row["id"]].jpeg
                assert int(row["label"]) == store[row["id"]].label
                assert row["kind"] == store[row["id"]].kind.title
        noted = json.loads((tmp_path / "files" / "store.json").read_text())
        assert noted["digest"] == store.digest
    assert sorted(path.name for path in (tmp_path / "people").iterdir() if path.is_dir()) == [
        *("0003", "0012", "background", "distractor", "junk", "partial", "unknown")
    ]
    assert (tmp_path / "files" / "images" / "game1" / "000001#bg000.jpg").is_file()
    assert (tmp_path / "people" / "unknown" / "game1__000001#001.jpg").is_file()


@pytest.mark.parametrize(
    "records",
    [
        [{"a": value} for value in VALUES],
        [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
        [{"a": None}, {"a": 1}, {}],
        [{"x": 1, "label": 2, "y": None}, {"y": 1, "x": None, "kind": 0}],
        [{}, {}],
        [{"a b": 1, " c": 2, "d,e": 3, 'f"g': 4, "h\ni": 5}],
    ],
)
def test_records_of_any_kind_and_order_come_back(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    samples = {f"{at:03d}": record for at, record in enumerate(records)}
    with Store(store_of(tmp_path / "a.lmdb", samples)) as store:
        export(store, tmp_path / "out")
        build(Csv(tmp_path / "out"), tmp_path / "b.lmdb", NATIVE)
        with Store(tmp_path / "b.lmdb") as again:
            assert again.digest == store.digest


def test_a_store_of_parts_is_one_with_its_ids_and_labels(various: Path, tmp_path: Path) -> None:
    other = store_of(tmp_path / "other.lmdb", {"z/9": {"label": 0}, "y": {"label": 3}})
    with Store(merge([various, other], tmp_path / "both.lmdb")) as store:
        export(store, tmp_path / "out", to="folder")
        build(Folder(tmp_path / "out"), tmp_path / "again.lmdb", NATIVE)
        with Store(tmp_path / "again.lmdb") as again:
            assert {*again} == {*store}
            for sample_id in store:
                assert again[sample_id].label == store[sample_id].label
                assert again[sample_id].jpeg == store[sample_id].jpeg
    assert "digest" not in json.loads((tmp_path / "out" / "store.json").read_text())


def test_parts_without_names_keep_the_digest(tmp_path: Path) -> None:
    one = store_of(tmp_path / "1.lmdb", {"a": {"label": 0}, "b": {"label": 1}})
    two = store_of(tmp_path / "2.lmdb", {"c": {"label": 1}, "d": {"label": 0}})
    whole = merge([one, two], tmp_path / "w.lmdb", names=["", ""], same_identities=True)
    with Store(whole) as store:
        export(store, tmp_path / "out")
        build(Csv(tmp_path / "out"), tmp_path / "again.lmdb", NATIVE)
        with Store(tmp_path / "again.lmdb") as again:
            assert again.digest == store.digest


@pytest.mark.parametrize(
    ("sample_id", "why"),
    [
        ("../x", "cannot be the path of a file"),
        ("a/../../x", "cannot be the path"),
        ("/etc/passwd", "cannot be the path"),
        ("a//b", "cannot be the path"),
        ("a/", "cannot be the path"),
        ("./a", "cannot be the path"),
        (".", "cannot be the path"),
        ("a\\b", "cannot be the path"),
        ("x" * 252, "names of files have at most 255 bytes"),
        ("ä" * 126, "names of files have at most 255 bytes"),
    ],
)
@pytest.mark.parametrize("to", LAYOUTS)
def test_ids_that_are_no_paths_are_refused_before_anything_is_written(
    tmp_path: Path, sample_id: str, why: str, to: Any
) -> None:
    with Store(store_of(tmp_path / "a.lmdb", {"a": {}, sample_id: {}})) as store:
        with pytest.raises(InvalidSampleError, match=why) as raised:
            export(store, tmp_path / "out", to=to)
        assert raised.value.ids == (sample_id,)
    assert not (tmp_path / "out").exists()


def test_long_ids_with_slashes_are_files_by_their_ids(tmp_path: Path) -> None:
    long = "/".join(["y" * 200] * 2)
    with Store(store_of(tmp_path / "a.lmdb", {long: {}})) as store:
        with pytest.raises(InvalidSampleError, match="Export it with --to csv"):
            export(store, tmp_path / "out", to="folder")
        export(store, tmp_path / "out", to="csv")
        build(Csv(tmp_path / "out"), tmp_path / "b.lmdb", NATIVE)
        with Store(tmp_path / "b.lmdb") as again:
            assert again.digest == store.digest
    folders = "x" * 252 + "/b"
    with Store(store_of(tmp_path / "f.lmdb", {"z" * 256 + "/b": {}, folders: {}})) as store:
        with pytest.raises(InvalidSampleError, match="names of folders have at most 255"):
            export(store, tmp_path / "other", to="csv")


def test_ids_that_give_one_file_are_refused(tmp_path: Path) -> None:
    with Store(store_of(tmp_path / "a.lmdb", {"a/b": {}, "a__b": {}})) as store:
        with pytest.raises(InvalidSampleError, match=r"would both be unknown/a__b\.jpg"):
            export(store, tmp_path / "out", to="folder")
        export(store, tmp_path / "out", to="csv")
    with Store(store_of(tmp_path / "b.lmdb", {"a": {}, "a.jpg/b": {}})) as store:
        with pytest.raises(InvalidSampleError, match="would have to be a folder too"):
            export(store, tmp_path / "other", to="csv")
        export(store, tmp_path / "other", to="folder")


def test_only_an_empty_folder_is_taken(various: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    with Store(various) as store:
        with pytest.raises(UsageError, match=r"must be empty, or not there; it has mine\.txt"):
            export(store, tmp_path / "full")
        with pytest.raises(UsageError, match="it is a file"):
            export(store, tmp_path / "full" / "mine.txt")
        with pytest.raises(UsageError, match="one of csv, folder, got 'zip'"):
            export(store, tmp_path / "empty", to="zip")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="got no rows"):
            export(store, tmp_path / "empty", np.zeros(0, np.int64))
        export(store, tmp_path / "empty")
        with pytest.raises(UsageError, match="must be empty"):
            export(store, tmp_path / "empty")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_a_disk_that_is_full_leaves_no_csv(various: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from lmdb_reid import _disk

    def watch(call: str, path: Path) -> None:
        if call == "write" and path.suffix == ".jpg" and "junk" in path.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(_disk, "watch", watch)
    with Store(various) as store:
        with pytest.raises(
            WriteError, match=r"junk\.jpg cannot be written: No space left on device"
        ):
            export(store, tmp_path / "out")
    assert not (tmp_path / "out" / "samples.csv").exists()


def test_a_damaged_sample_is_not_exported(various: Path, tmp_path: Path) -> None:
    with Store(various) as store:
        data = store["junk"].jpeg
    file = various / "data.mdb"
    raw = bytearray(file.read_bytes())
    raw[raw.index(data) + len(data) // 2] ^= 1
    file.write_bytes(raw)
    with Store(various) as store:
        with pytest.raises(CorruptSampleError, match="junk"):
            export(store, tmp_path / "out")
    assert not (tmp_path / "out" / "samples.csv").exists()


# -- a csv that was edited


@pytest.fixture
def exported(various: Path, tmp_path: Path) -> Path:
    with Store(various) as store:
        export(store, tmp_path / "out")
    return tmp_path / "out"


def edited(root: Path, old: str, new: str) -> None:
    path = root / "samples.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_lines_that_cannot_be_used_are_skipped_with_a_reason(exported: Path) -> None:
    edited(exported, "images/junk.jpg", "../../junk.jpg")
    edited(exported, "images/distractor.jpg", "images/gone.jpg")
    edited(exported, ",3,person", ",three,person")
    edited(exported, ",-1,background", ",-1,backgrnd")
    reasons = {one.frame: one.reason for one in Csv(exported).read().skipped}
    assert reasons == {
        "junk": "its file must be a path below --root",
        "distractor": f"images/gone.jpg is not in {exported}",
        "z/9": "label is 'three', which is not a finite number",
        "game1/000001#bg000": "kind must be of person, background, partial, junk, distractor,"
        " got 'backgrnd'",
    }


def test_an_id_that_stands_twice_names_both_lines(exported: Path) -> None:
    edited(exported, ",junk,", ",distractor,")
    with pytest.raises(DuplicateSampleError, match=r"lines \d and \d .* same id: distractor"):
        Csv(exported).read()


def test_lines_and_columns_may_be_left_out(exported: Path) -> None:
    path = exported / "samples.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row[:4] for row in csv.reader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows[:4])
    listing = Csv(exported).read()
    assert listing.rows == 3
    assert listing.roles == Roles()
    assert all(not row.fields for frame in listing.frames for row in frame.rows)
    for text in ("{", "[" * 100_000, " " * (1 << 20) + "{}", '{"roles": {}, "roles": {}}'):
        (exported / "store.json").write_text(text)
        with pytest.raises(SourceError, match=r"store\.json cannot be read"):
            Csv(exported).read()
    (exported / "store.json").unlink()
    assert Csv(exported).read().roles == Roles()


# -- the command


def exports(*words: str) -> int:
    parser = argparse.ArgumentParser()
    export_command.configure(parser)
    return export_command.run(parser.parse_args(words))


def test_the_command_exports_and_build_takes_it_back(
    various: Path, tmp_path: Path, capsys: Any
) -> None:
    out, again = str(tmp_path / "out"), str(tmp_path / "again.lmdb")
    assert exports(str(various), "--to", "csv", "-o", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 8
    words = ["build", "--format", "auto", "--root", out, "--size", "native", "--out", again]
    assert main(words) == 0
    assert "format csv: samples.csv is what lmdb-reid export writes" in capsys.readouterr().err
    with Store(various) as store:
        digest = store.digest
    assert main(["verify", again, "--deep"]) == 0
    with Store(again) as store:
        assert store.digest == digest


def test_the_command_takes_a_query(various: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    words = [str(various), "kind == 0 and label >= 0", "--to", "folder", "-o", str(out)]
    assert exports(*words) == 0
    assert "wrote 3 samples" in capsys.readouterr().out
    assert len([*out.rglob("*.jpg")]) == 3
    with pytest.raises(UsageError, match="no sample matches 'label == 77'"):
        exports(str(various), "label == 77", "--to", "csv", "-o", str(out))
