"""Market-1501, MSMT17, SoccerNet-ReID and a folder for each identity: crops by their names.

MSMT17 and SoccerNet-ReID are drawn after their descriptions, not taken from the data sets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import MSMT17, BuildSettings, Folder, Market1501, SoccerNet, Source, build
from builders.testing import SourceContract
from lmdb_reid.errors import (
    DuplicateSampleError,
    SourceError,
    SourceNotFoundError,
    TooManySkippedError,
    UsageError,
)
from lmdb_reid.schema import Kind, Roles
from lmdb_reid.store import Store

Draw = Callable[..., Path]

MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0007_c3s2_000012_01.jpg",
    "query/0003_c1s1_000151_00.jpg",
    "bounding_box_test/0003_c2s1_000301_00.jpg",
    "bounding_box_test/-1_c2s1_000301_01.jpg",
    "bounding_box_test/0000_c5s3_000301_02.jpg",
)
SOCCERNET = (
    "train/epl/2014/game/0/5-0-3-0-Player_team_left-7-001r000-120x50.png",
    "train/epl/2014/game/1/9-1-3-0-Main_referee-None-002r000-99x41.png",
    "valid/query/epl/2014/game/0/1-0-3-0-Player_team_left-7-001r000-120x50.png",
    "valid/gallery/epl/2014/game/0/2-0-3-2-Player_team_left-7-001r002-110x48.png",
    "valid/gallery/epl/2014/game/0/3-0-4-2-Player_team-right--001r002-110x48.png",
)
COLUMNS = r"(?P<camera>\d+)_(?P<frame>\d+)"


def msmt17(draw: Draw, *, folders: tuple[str, str] = ("train", "test")) -> Path:
    train, test = folders
    root = draw(
        "msmt17",
        f"{train}/0000/0000_000_01_0303morning_0008_0.jpg",
        f"{train}/0001/0001_000_05_0303noon_0009_0.jpg",
        f"{train}/0001/0001_001_11_0303noon_0010_0.jpg",
        f"{test}/0000/0000_000_03_0303noon_0009_0.jpg",
        f"{test}/0000/0000_001_04_0303noon_0011_1.jpg",
    )
    for name, lines in {
        "train": [
            "0000/0000_000_01_0303morning_0008_0.jpg 0",
            "0001/0001_000_05_0303noon_0009_0.jpg 1",
        ],
        "val": ["0001/0001_001_11_0303noon_0010_0.jpg 1"],
        "query": ["0000/0000_000_03_0303noon_0009_0.jpg 0"],
        "gallery": ["0000/0000_001_04_0303noon_0011_1.jpg 0"],
    }.items():
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


class TestMarket1501(SourceContract):
    @pytest.fixture
    def source(self, draw: Draw) -> Source:
        return Market1501(draw("market", *MARKET, "query/portrait.jpg"))


class TestMSMT17(SourceContract):
    @pytest.fixture(params=[("train", "test"), ("mask_train_v2", "mask_test_v2")])
    def source(self, draw: Draw, request: Any) -> Source:
        return MSMT17(msmt17(draw, folders=request.param))


class TestSoccerNet(SourceContract):
    @pytest.fixture
    def source(self, draw: Draw) -> Source:
        return SoccerNet(draw("soccernet", *SOCCERNET, "train/5-0-3.png"))


class TestFolder(SourceContract):
    @pytest.fixture(params=[None, COLUMNS])
    def source(self, draw: Draw, request: Any) -> Source:
        paths = ("train/ann/01_1.jpg", "train/bea/02_1.jpg", "val/query/cy/1_2.jpg", "top.jpg")
        return Folder(draw("folders", *paths, "train/ann/me.png"), names=request.param)


def samples(source: Source, out: Path) -> dict[str, dict[str, Any]]:
    build(source, out, BuildSettings(size=None), max_skipped=0.5)
    with Store(out) as store:
        return {name: store[name].record for name in store}


def test_market_names_become_columns_and_junk_and_distractors_keep_their_kind(
    draw: Draw, tmp_path: Path
) -> None:
    root = draw("market", *MARKET, "bounding_box_test/Thumbs.db")
    found = samples(Market1501(root), tmp_path / "o.lmdb")
    assert {name: (one["label"], one["kind"], one["pid"]) for name, one in found.items()} == {
        "bounding_box_train/0002_c1s1_000451_03": (2, Kind.PERSON, 2),
        "bounding_box_train/0007_c3s2_000012_01": (7, Kind.PERSON, 7),
        "query/0003_c1s1_000151_00": (3, Kind.PERSON, 3),
        "bounding_box_test/0003_c2s1_000301_00": (3, Kind.PERSON, 3),
        "bounding_box_test/-1_c2s1_000301_01": (-1, Kind.JUNK, -1),
        "bounding_box_test/0000_c5s3_000301_02": (-1, Kind.DISTRACTOR, 0),
    }
    one = found["bounding_box_train/0007_c3s2_000012_01"]
    assert (one["camera"], one["sequence"], one["frame"], one["split"]) == (3, 2, 12, "train")
    assert found["query/0003_c1s1_000151_00"]["split"] == "query"
    with Store(tmp_path / "o.lmdb") as store:
        assert store.roles == Market1501.roles
        for name in store:
            assert store[name].jpeg == (root / f"{name}.jpg").read_bytes()


def test_duke_names_have_no_sequence(draw: Draw) -> None:
    (frame,) = Market1501(draw("duke", "query/0005_c2_f0046985.jpg")).read().frames
    assert frame.fields == {
        "split": "query",
        "camera": 2,
        "sequence": 0,
        "frame": 46985,
        "pid": 5,
    }


def test_names_that_do_not_parse_are_listed_and_too_many_are_an_error(
    draw: Draw, tmp_path: Path
) -> None:
    source = Market1501(draw("market", *MARKET, "query/portrait.jpg"))
    (rejected,) = source.read().skipped
    assert (rejected.where, rejected.frame) == ("query/portrait.jpg", "query/portrait")
    assert "its name must be PID_c" in rejected.reason
    with pytest.raises(TooManySkippedError, match=r"query/portrait\.jpg: its name must be"):
        build(source, tmp_path / "o.lmdb")


def test_pid_zero_outside_the_gallery_is_a_question(draw: Draw) -> None:
    root = draw("market", *MARKET, "bounding_box_train/0000_c1s1_000451_03.jpg")
    with pytest.raises(SourceError, match="pid 0 must be in bounding_box_test alone") as caught:
        Market1501(root).read()
    assert "--pid-zero person" in str(caught.value)
    frames = Market1501(root, pid_zero="person", shared_identities=True).read().frames
    labels = {frame.key: frame.rows[0].label for frame in frames}
    assert labels["bounding_box_train/0000_c1s1_000451_03"] == 0


def test_an_identity_in_train_and_query_is_refused_unless_it_is_meant(draw: Draw) -> None:
    root = draw("market", *MARKET, "query/0007_c1s1_000151_00.jpg")
    with pytest.raises(SourceError, match=r"query has 7 of train.*--shared-identities"):
        Market1501(root).read()
    assert Market1501(root, shared_identities=True).read().rows == 7
    folders = draw("folders", "train/7/a.jpg", "val/gallery/7/b.jpg")
    with pytest.raises(SourceError, match=r"gallery has 7 of train"):
        Folder(folders).read()


def test_two_files_that_differ_in_their_suffix_are_one_sample_too_many(draw: Draw) -> None:
    root = draw("market", MARKET[0], MARKET[0].replace(".jpg", ".png"))
    with pytest.raises(DuplicateSampleError, match="would lead to the same ids"):
        Market1501(root).read()


@pytest.mark.parametrize(
    ("source", "paths"), [(Market1501, MARKET), (SoccerNet, SOCCERNET)], ids=["market", "soccernet"]
)
@pytest.mark.parametrize("above", ["", "a/b"])
def test_a_folder_too_high_or_too_low_says_where_the_images_are(
    draw: Draw, source: Any, paths: tuple[str, ...], above: str
) -> None:
    root = draw("data", *(f"{above or 'one'}/{path}" for path in paths))
    with pytest.raises(SourceError) as caught:
        source(root).read()
    assert f"Use --root {root / (above or 'one')}" in str(caught.value)
    if source is Market1501:
        with pytest.raises(SourceError, match=f"Use --root {root / (above or 'one')}"):
            source(root / (above or "one") / "query").read()
    with pytest.raises(SourceNotFoundError, match="no folder at"):
        source(root / "nowhere").read()


def test_msmt17_keeps_the_people_of_train_and_test_apart(draw: Draw, tmp_path: Path) -> None:
    found = samples(MSMT17(msmt17(draw)), tmp_path / "o.lmdb")
    facts = {
        name.rpartition("/")[2]: (one["label"], one["pid"], one["camera"], one["split"])
        for name, one in found.items()
    }
    assert facts == {
        "0000_000_01_0303morning_0008_0": (0, 0, 1, "train"),
        "0001_000_05_0303noon_0009_0": (1, 1, 5, "train"),
        "0001_001_11_0303noon_0010_0": (1, 1, 11, "val"),
        "0000_000_03_0303noon_0009_0": (2, 0, 3, "query"),
        "0000_001_04_0303noon_0011_1": (2, 0, 4, "gallery"),
    }


def test_msmt17_lists_lines_that_cannot_be_used(draw: Draw) -> None:
    root = msmt17(draw)
    lines = ["0000/0000_000_03_0303noon_0009_0.jpg 0", "0000/x.jpg 1", "0000/a_b_03.jpg 2", "x"]
    (root / "list_query.txt").write_text("\n".join(lines))
    listing = MSMT17(root).read()
    assert listing.rows == 8
    assert [(one.where, one.reason) for one in listing.skipped] == [
        ("list_query.txt line 2", "the third field of its name must be the camera's number"),
        ("list_query.txt line 3", "0000/a_b_03.jpg is not there"),
        ("list_query.txt line 4", "it must be PATH PID, got 'x'"),
    ]
    (root / "list_query.txt").write_text("0000/0000_001_04_0303noon_0011_1.jpg 0\n")
    with pytest.raises(DuplicateSampleError, match=r"list_query.txt line 1 and list_gallery.txt"):
        MSMT17(root).read()


def test_soccernet_people_are_people_of_one_action(draw: Draw, tmp_path: Path) -> None:
    root = draw("soccernet", *SOCCERNET)
    found = samples(SoccerNet(root), tmp_path / "o.lmdb")
    labels = [found[path.removesuffix(".png")]["label"] for path in SOCCERNET]
    assert labels == [0, 1, 2, 2, 3]
    one = found[SOCCERNET[3].removesuffix(".png")]
    told = {name: one[name] for name in ("subset", "split", "action", "person", "frame", "bbox")}
    assert told == {
        "subset": "valid",
        "split": "gallery",
        "action": 0,
        "person": 3,
        "frame": 2,
        "bbox": 2,
    }
    assert (one["role"], one["shirt"], one["uai"]) == ("Player_team_left", "7", "001r002")
    assert "shirt" not in found[SOCCERNET[4].removesuffix(".png")]
    # Of one subset alone: the same people.
    alone = samples(SoccerNet(root / "valid"), tmp_path / "valid.lmdb")
    assert {one["subset"] for one in alone.values()} == {"valid"}
    assert len({one["label"] for one in alone.values()}) == 2


def test_folders_name_identities_and_splits(draw: Draw) -> None:
    root = draw(
        "folders", "train/ann/01_1.jpg", "val/query/bea/02_1.jpg", "val/gallery/bea/1_7.png"
    )
    listing = Folder(root, names=COLUMNS).read()
    assert listing.roles == Roles(camera="camera", time=("frame",), split="split")
    facts = {frame.key: (frame.rows[0].label, dict(frame.fields)) for frame in listing.frames}
    assert facts == {
        "train/ann/01_1": (0, {"person": "ann", "split": "train", "camera": 1, "frame": 1}),
        "val/query/bea/02_1": (1, {"person": "bea", "split": "query", "camera": 2, "frame": 1}),
        "val/gallery/bea/1_7": (1, {"person": "bea", "split": "gallery", "camera": 1, "frame": 7}),
    }
    plain = Folder(draw("plain", "007/a.jpg", "12/b.jpg")).read()
    assert [frame.rows[0].label for frame in plain.frames] == [7, 12]
    assert plain.roles == Roles()


def test_a_person_may_be_named_by_the_file(draw: Draw) -> None:
    root = draw("synergy", "test/3_1_20.jpeg", "test/3_1_25.jpeg", "test/4_1_20.jpeg")
    listing = Folder(root, names=r"(?P<person>\d+)_(?P<sequence>\d+)_(?P<frame>\d+)").read()
    assert [frame.rows[0].label for frame in listing.frames] == [3, 3, 4]


def test_a_folder_that_repeats_others_is_refused_and_may_be_left_out(draw: Draw) -> None:
    paths = ["train/a/1.jpg", "val/query/b/1.jpg", "val/gallery/b/2.jpg"]
    paths += ["val/all/b/1.jpg", "val/all/b/2.jpg"]
    root = draw("folders", *paths)
    with pytest.raises(SourceError, match="Use --leave-out val/all"):
        Folder(root).read()
    assert Folder(root, leave_out=("val/all",)).read().rows == 3


def test_cameras_may_give_their_files_the_same_names(draw: Draw) -> None:
    root = draw("folders", "cam1/a/1.jpg", "cam1/a/2.jpg")
    draw("folders/cam2", "a/1.jpg", size=(20, 20))
    listing = Folder(root).read()
    assert sorted(listing.frames.keys) == ["cam1/a/1", "cam1/a/2", "cam2/a/1"]
    assert {frame.rows[0].label for frame in listing.frames} == {0}


@pytest.mark.parametrize("names", ["(", r"\d+"])
def test_an_expression_for_names_must_name_something(draw: Draw, names: str) -> None:
    with pytest.raises(UsageError, match="--names must"):
        Folder(draw("folders", "a/1.jpg"), names=names).read()


def test_a_folder_without_images_is_refused(draw: Draw) -> None:
    root = draw("folders")
    (root / "a").mkdir()
    (root / "a" / "notes.txt").touch()
    with pytest.raises(SourceError, match="has no images"):
        Folder(root).read()


def test_a_link_to_a_folder_above_ends_in_an_error(draw: Draw) -> None:
    root = draw("folders", "a/1.jpg")
    (root / "a" / "again").symlink_to(root)
    with pytest.raises(SourceError, match="at most 20 deep"):
        Folder(root).read()


def test_folders_of_another_layout_are_named(draw: Draw) -> None:
    root = draw("market", *MARKET)
    with pytest.warns(UserWarning, match="Use --format market1501") as caught:
        listing = Folder(root, shared_identities=True).read()
    assert len(caught) == 1
    assert listing.rows == len(MARKET)
    Folder(root, names=r"(?P<person>-?\d+)_c(?P<camera>\d+).*", shared_identities=True).read()
    Folder(draw("people", "7/a.jpg", "8/0002_c1s1_000451_03.jpg")).read()
