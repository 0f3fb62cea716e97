"""The negatives csv: what the command writes, a build takes and a store gives back."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import AtmaCup, BuildSettings, build, plan
from builders.game import Game
from builders.negatives import load_negatives_from_csv
from lmdb_reid.cli.main import main
from lmdb_reid.codec import encode
from lmdb_reid.errors import DuplicateSampleError, ResumeError, SourceNotFoundError
from lmdb_reid.schema import Box, Kind
from lmdb_reid.store import Store, StoreWriter

SMALL = BuildSettings(size=(64, 32), quality=80)
Rows = list[dict[str, str]]


def read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def negatives_of(path: Path) -> dict[str, tuple[int, Box]]:
    """Kind and box of each negative of a store, by id."""
    with Store(path) as store:
        samples = [store[sample_id] for sample_id in store]
        return {
            sample.id: (int(sample.kind), Box(*(sample.record[name] for name in "xywh")))
            for sample in samples
            if sample.kind != Kind.PERSON
        }


def by_id(rows: Rows) -> dict[str, tuple[int, Box]]:
    return {
        row["id"]: (int(Kind[row["kind"].upper()]), Box(*(float(row[name]) for name in "xywh")))
        for row in rows
    }


def command(game: Game, output: Path, *more: str) -> int:
    """As the guide's users call their script."""
    words = ["--train_meta", str(game.train_meta), "--img_root", str(game.img_root)]
    return main(["negatives", *words, "--output", str(output), *more])


def digest(path: Path) -> str:
    with Store(path) as store:
        return store.digest


def test_the_boxes_are_those_of_a_build(
    game: Game, sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "inputs" / "train_negatives.csv"
    more = ("--num_bg_per_frame", "1", "--num_partial_per_box", "1")
    assert command(game, output, *more) == 0
    rows = read(output)
    made = negatives_of(sealed)
    assert len(made) > 100
    assert by_id(rows) == made
    assert f"wrote {output}: {len(rows)} negatives (" in capsys.readouterr().out
    for row in rows:
        path = Path(row["img_path"])
        assert path.parent == game.img_root
        assert path.is_file()
        assert row["id"].startswith(f"{path.stem}#")
        name = f"{row['quarter']}__{row['angle']}__{int(row['session']):02d}"
        assert path.stem == f"{name}__{int(row['frame']):02d}"
        assert row["label_id"] == "-1"


def test_other_settings_give_the_boxes_of_another_build(game: Game, tmp_path: Path) -> None:
    more = ["--num-bg-per-frame", "3", "--num-partial-per-box", "0", "--seed", "7"]
    assert command(game, tmp_path / "n.csv", *more, "--bbox_mode", "keep") == 0
    settings = BuildSettings(
        size=(64, 32), num_bg_per_frame=3, num_partial_per_box=0, seed=7, quality=50
    )
    source = AtmaCup(game.train_meta, game.img_root, bbox_mode="keep")
    build(source, tmp_path / "s.lmdb", settings)
    assert by_id(read(tmp_path / "n.csv")) == negatives_of(tmp_path / "s.lmdb")
    assert {row["kind"] for row in read(tmp_path / "n.csv")} == {"background"}


def test_the_limit_on_parts(game: Game, tmp_path: Path) -> None:
    # The least a part can have of its box is 9 %.
    assert command(game, tmp_path / "n.csv", "--max_iou_partial", "0.05") == 0
    assert {row["kind"] for row in read(tmp_path / "n.csv")} == {"background"}


def test_it_writes_the_same_bytes_again_and_others_of_another_seed(
    game: Game, tmp_path: Path
) -> None:
    one, again, other = (tmp_path / f"{name}.csv" for name in ("one", "again", "other"))
    assert command(game, one) == command(game, again, "--num-workers", "3") == 0
    assert command(game, other, "--seed", "1") == 0
    assert one.read_bytes() == again.read_bytes()
    assert one.read_bytes() != other.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one.csv", "again.csv", "other.csv"}


def test_no_pixels_are_needed(own_game: Game, game: Game, tmp_path: Path) -> None:
    for path in own_game.img_root.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"\xff\xda") + 14])  # up to the scan
    assert command(own_game, tmp_path / "headers.csv") == 0
    assert command(game, tmp_path / "whole.csv") == 0
    assert by_id(read(tmp_path / "headers.csv")) == by_id(read(tmp_path / "whole.csv"))


def test_a_stores_negatives_are_the_csv_that_it_could_be_built_from(
    game: Game, sealed: Path, tmp_path: Path
) -> None:
    made, given_back = tmp_path / "made.csv", tmp_path / "back.csv"
    assert command(game, made) == 0
    assert main(["negatives", "--from", str(sealed), "--output", str(given_back)]) == 0
    assert given_back.read_bytes() == made.read_bytes()


def test_a_build_from_the_csv_is_the_build_that_made_them(
    game: Game, sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "n.csv"
    assert command(game, table) == 0
    words = ["--format", "atmacup", "--train_meta", str(game.train_meta)]
    words += ["--img_root", str(game.img_root), "--negatives", str(table)]
    capsys.readouterr()
    assert main(["build", *words, "--out", str(tmp_path / "a.lmdb"), "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["build", *words, "--out", str(tmp_path / "a.lmdb"), "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert planned["kinds"] == built["kinds"]
    assert digest(tmp_path / "a.lmdb") == digest(sealed)
    with Store(tmp_path / "a.lmdb") as store:
        assert store.manifest.build["seed"] is None
        assert "negatives" in store.manifest.build["inputs"]
        assert store.manifest.source["negatives"] == str(table)


def edited(table: Path, rows: Rows) -> None:
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_build_takes_what_the_csv_has_and_makes_nothing(game: Game, tmp_path: Path) -> None:
    table = tmp_path / "n.csv"
    assert command(game, table) == 0
    rows = read(table)[:3]
    rows[1] |= {"x": "1.5", "w": "33"}
    edited(table, rows)
    source = AtmaCup(game.train_meta, game.img_root)
    report = build(source, tmp_path / "s.lmdb", SMALL, negatives=table)
    assert by_id(rows) == negatives_of(tmp_path / "s.lmdb")
    assert report.kinds == plan(source, tmp_path / "s.lmdb", SMALL, negatives=table).kinds
    assert report.kinds["partial"] == 3


def test_a_guides_csv_without_kinds_and_ids_can_be_built_from(game: Game, tmp_path: Path) -> None:
    table = tmp_path / "n.csv"
    assert command(game, table) == 0
    rows = [{k: v for k, v in row.items() if k not in ("kind", "id")} for row in read(table)]
    edited(table, rows)
    build(AtmaCup(game.train_meta, game.img_root), tmp_path / "s.lmdb", SMALL, negatives=table)
    found = negatives_of(tmp_path / "s.lmdb")
    assert {kind for kind, _ in found.values()} == {Kind.BACKGROUND}
    boxes = sorted(Box(*(float(row[name]) for name in "xywh")) for row in rows)
    assert sorted(box for _, box in found.values()) == boxes


def test_a_negative_outside_its_frame_is_skipped_and_told(game: Game, tmp_path: Path) -> None:
    table = tmp_path / "n.csv"
    assert command(game, table) == 0
    rows = read(table)
    rows[4]["x"] = "99999"
    edited(table, rows)
    source = AtmaCup(game.train_meta, game.img_root)
    report = build(source, tmp_path / "s.lmdb", SMALL, negatives=table)
    (skipped,) = report.skipped
    assert skipped.where == "negatives csv line 6"
    assert skipped.frame == Path(rows[4]["img_path"]).stem
    assert skipped.reason.startswith("the box x=99999 ")
    assert plan(source, tmp_path / "s.lmdb", SMALL, negatives=table).skipped == report.skipped
    assert rows[4]["id"] not in negatives_of(tmp_path / "s.lmdb")


def test_an_unfinished_build_is_not_resumed_with_another_csv(game: Game, tmp_path: Path) -> None:
    table, out = tmp_path / "n.csv", tmp_path / "s.lmdb"
    assert command(game, table) == 0
    source = AtmaCup(game.train_meta, game.img_root)

    def stop(done: int, _total: int, _crops: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, out, SMALL, negatives=table, progress=stop)
    rows = read(table)
    edited(table, rows[:-1])
    with pytest.raises(ResumeError, match="inputs: negatives changed"):
        build(source, out, SMALL, negatives=table, resume=True)
    with pytest.raises(ResumeError, match="inputs: negatives changed"):
        build(source, out, SMALL, resume=True)
    assert command(game, table) == 0
    build(source, out, SMALL, negatives=table, resume=True)
    build(source, tmp_path / "whole.lmdb", SMALL)
    assert digest(out) == digest(tmp_path / "whole.lmdb")


def test_a_csv_that_does_not_fit_leaves_nothing_behind(game: Game, tmp_path: Path) -> None:
    table, out = tmp_path / "n.csv", tmp_path / "s.lmdb"
    source = AtmaCup(game.train_meta, game.img_root)
    with pytest.raises(SourceNotFoundError, match="lmdb-reid negatives --train-meta"):
        build(source, out, SMALL, negatives=table)
    assert command(game, table) == 0
    rows = read(table)
    edited(table, [*rows, rows[0]])
    with pytest.raises(DuplicateSampleError, match=f"lines 2 and {len(rows) + 2} have the same id"):
        build(source, out, SMALL, negatives=table)
    assert [path.name for path in tmp_path.iterdir()] == ["n.csv"]


# what cannot be used


def test_frames_that_cannot_be_read_are_told_and_counted(
    own_game: Game, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = sorted(own_game.img_root.iterdir())
    first.write_bytes(b"no picture")
    output = tmp_path / "n.csv"
    assert command(own_game, output) == 1
    assert "rows cannot be used, more than 5% (--max-skipped)" in capsys.readouterr().err
    assert command(own_game, output, "--strict") == 1
    assert "cannot be used (--strict)" in capsys.readouterr().err
    assert not output.exists()
    assert command(own_game, output, "--max-skipped", "0.5") == 0
    shown = capsys.readouterr().out
    assert "skipped     10 rows" in shown
    assert f"train_meta.csv line 2: {first.name}: " in shown
    assert first.stem not in {Path(row["img_path"]).stem for row in read(output)}
    assert command(own_game, output, "--max-skipped", "0.5", "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["samples"] == len(read(output)) == sum(told["kinds"].values())
    assert told["output"] == str(output)
    assert [row["frame"] for row in told["skipped"]] == [first.stem] * 10


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--num-bg-per-frame", "-1"], "num_bg_per_frame must be 0 to 1000, got -1"),
        (["--num-partial-per-box", "1001"], "num_partial_per_box must be 0 to 1000, got 1001"),
        (["--max-iou-partial", "0"], "max_iou"),
        (["--max-skipped", "2"], "--max-skipped must be a share from 0 to 1, got 2"),
        (["--num-workers", "0"], "num_workers must be at least 1, got 0"),
        (["--from", "s.lmdb"], "--from and --train-meta exclude each other"),
        (["--from", "s.lmdb", "--max-iou-partial", "0.3"], "--train-meta, --max-iou-partial"),
    ],
)
def test_wrong_use(
    game: Game, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert command(game, tmp_path / "n.csv", *more) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_frames_went_away(
    own_game: Game, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, output = tmp_path / "s.lmdb", tmp_path / "n.csv"
    build(AtmaCup(own_game.train_meta, own_game.img_root), store, SMALL)
    moved = own_game.img_root.rename(tmp_path / "moved")
    words = ["negatives", "--from", str(store), "--output", str(output)]
    assert main(words) == 1
    assert "--img-root" in capsys.readouterr().err
    assert main([*words, "--img-root", str(moved)]) == 0
    assert {Path(sample.img_path).parent for sample in load_negatives_from_csv(output)} == {moved}
    gone = sorted(moved.iterdir())[0]
    gone.unlink()
    assert main([*words, "--img-root", str(moved)]) == 1
    assert f"the frame {gone.stem} of {store} is not in {moved}" in capsys.readouterr().err


def test_a_store_of_another_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        writer.put("a#bg000", encode(np.zeros((8, 8, 3), np.uint8)), {"label": -1, "kind": 1})
        writer.seal()
    words = ["negatives", "--from", str(tmp_path / "s.lmdb"), "--output", str(tmp_path / "n.csv")]
    assert main(words) == 2
    assert "has no column 'quarter'" in capsys.readouterr().err


# the command itself


def test_the_module_is_the_command(game: Game, tmp_path: Path) -> None:
    words = ["--train_meta", game.train_meta, "--img_root", game.img_root, "--output", "n.csv"]
    done = subprocess.run(
        [sys.executable, "-m", "builders.negatives", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert command(game, tmp_path / "other.csv") == 0
    assert (tmp_path / "n.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_without_arguments_it_looks_where_the_guide_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], game: Game
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["negatives"]) == 1
    missing = "no csv at inputs/atmaCup22_2nd_meta/train_meta.csv (--train-meta)"
    assert missing in capsys.readouterr().err
    meta = tmp_path / "inputs" / "atmaCup22_2nd_meta"
    meta.mkdir(parents=True)
    (meta / "train_meta.csv").symlink_to(game.train_meta)
    (tmp_path / "inputs" / "images").symlink_to(game.img_root)
    assert main(["negatives"]) == 0
    found = load_negatives_from_csv("inputs/train_negatives.csv")
    assert {Path(sample.img_path).parent for sample in found} == {Path("inputs/images")}


@pytest.mark.data
@pytest.mark.parametrize("name", ["soccer_snmot116", "mot17_mini"])
def test_on_photographs(shared_data: Path, tmp_path: Path, name: str) -> None:
    folder = shared_data / name
    game = Game(train_meta=folder / "train_meta.csv", img_root=folder / "images", frames=0, boxes=0)
    assert command(game, tmp_path / "n.csv", "--bbox-mode", "interp") == 0
    rows = read(tmp_path / "n.csv")
    source = AtmaCup(game.train_meta, game.img_root, bbox_mode="interp")
    frames = {frame.key: frame for frame in source.read().frames}
    assert {Path(row["img_path"]).stem for row in rows} == set(frames)
    for sample_id, (kind, box) in by_id(rows).items():
        frame = frames[sample_id.partition("#")[0]]
        if kind == Kind.PARTIAL:
            number = int(sample_id.partition("#")[2].partition("p")[0])
            (person,) = [row.box for row in frame.rows if row.number == number]
            assert person is not None
            assert person.x <= box.x
            assert box.x + box.w <= person.x + person.w + 1e-9
            assert box.area < 0.4 * person.area
