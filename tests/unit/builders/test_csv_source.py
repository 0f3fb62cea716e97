"""Any csv, whose columns the user names."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import BuildSettings, ColumnRoles, Csv, Source, build, plan
from builders.testing import SourceContract
from lmdb_reid.errors import DuplicateSampleError, SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import Box, Kind, Roles
from lmdb_reid.store import Store

Draw = Callable[..., Path]

BOXES = "image=file,x=left,y=top,w=width,h=height,label=player"
EVERY = f"{BOXES},camera=cam,group=match,group=half,time=minute,split=part,track=track,kind=what"
HEADER = "file,left,top,width,height,player"
FULL = f"{HEADER},cam,match,half,minute,part,track,what,height_cm"


@pytest.fixture
def csv(draw: Draw) -> Callable[..., Csv]:
    """A source over `a.jpg` and `sub/b.jpg`, 64 wide and 48 high, and a csv of these lines."""
    root = draw("images", "a.jpg", "sub/b.jpg", size=(48, 64))

    def of(*lines: str, columns: str = BOXES, header: str = HEADER, **options: Any) -> Csv:
        (root / "boxes.csv").write_text("\n".join([header, *lines]) + "\n")
        return Csv(root, root / "boxes.csv", ColumnRoles.parse(columns), **options)

    return of


def rows(source: Source) -> dict[str, list[tuple[int, int, Box | None]]]:
    return {
        frame.key: [(row.number, row.label, row.box) for row in frame.rows]
        for frame in source.read().frames
    }


class TestCsv(SourceContract):
    @pytest.fixture
    def source(self, csv: Callable[..., Csv]) -> Source:
        return csv(
            "sub/b.jpg,1,2,10,20,7,left,m1,1,3,query,t1,person,180",
            "a.jpg,1,2,10,20,8,right,m1,2,4,gallery,t2,,",
            "a.jpg,5,2,10,20,,right,m1,2,4,gallery,,junk,190",
            "a.jpg,5,2,0,20,9,right,m1,2,4,gallery,,junk,190",
            "gone.jpg,5,2,9,20,9,right,m1,2,4,gallery,,junk,190",
            columns=EVERY,
            header=FULL,
        )


class TestNormalised(SourceContract):
    @pytest.fixture
    def source(self, csv: Callable[..., Csv]) -> Source:
        lines = "a.jpg,0.1,0.2,0.5,0.5,7", "sub/b.jpg,0.1,0.2,0.5,0.5,7"
        return csv(*lines, boxes="normalised")


class TestCrops(SourceContract):
    @pytest.fixture
    def source(self, csv: Callable[..., Csv]) -> Source:
        return csv("a.jpg,ann", "sub/b.jpg,bea", columns="image=file,label=who", header="file,who")


def test_boxes_and_labels(csv: Callable[..., Csv]) -> None:
    source = csv("sub/b.jpg,1,2,10,20,7", "a.jpg,3,4,5,6,-1", "sub/b.jpg,2,2,11,20,")
    assert rows(source) == {
        "a": [(0, -1, Box(3, 4, 5, 6))],
        "sub/b": [(0, 7, Box(1, 2, 10, 20)), (1, -1, Box(2, 2, 11, 20))],
    }
    (first, second) = source.read().frames
    assert [row.where for row in second.rows] == ["boxes.csv line 2", "boxes.csv line 4"]
    assert [row.order for row in (*first.rows, *second.rows)] == [1, 0, 2]


def test_corners_are_boxes(csv: Callable[..., Csv]) -> None:
    columns = "image=file,x=left,y=top,x2=right,y2=bottom"
    header = "file,left,top,right,bottom"
    source = csv("a.jpg,1,2,11,22", "a.jpg,5,5,5,9", columns=columns, header=header)
    assert rows(source) == {"a": [(0, -1, Box(1, 2, 10, 20))]}
    assert [one.reason for one in source.read().skipped] == ["its right is not above its left"]


def test_every_role_becomes_a_column(csv: Callable[..., Csv], tmp_path: Path) -> None:
    source = csv(
        "sub/b.jpg,1,2,10,20,7,left,m1,1,3,query,t1,person,180",
        "a.jpg,1,2,10,20,8,right,m1,2,4,gallery,t2,distractor,",
        columns=EVERY,
        header=FULL,
    )
    roles = Roles(
        camera="cam", group=("match", "half"), time=("minute",), split="part", track="track"
    )
    build(source, tmp_path / "o.lmdb", BuildSettings(num_bg_per_frame=0, num_partial_per_box=0))
    with Store(tmp_path / "o.lmdb") as store:
        assert store.roles == roles
        assert store["sub/b#000"].record == {
            "label": 7,
            "kind": Kind.PERSON,
            "cam": "left",
            "match": "m1",
            "half": 1,
            "minute": 3,
            "x": 1,
            "y": 2,
            "w": 10,
            "h": 20,
            "part": "query",
            "track": "t1",
            "height_cm": 180.0,
        }
        other = store["a#000"].record
        assert (other["label"], other["kind"]) == (-1, Kind.DISTRACTOR)
        assert "height_cm" not in other


def test_a_role_of_an_empty_column_is_none(csv: Callable[..., Csv]) -> None:
    columns, header = f"{BOXES},camera=cam,split=part", f"{HEADER},cam,part"
    roles = csv("a.jpg,1,2,3,4,7,,train", columns=columns, header=header).read().roles
    assert roles == Roles(split="part")


def test_a_role_may_be_of_a_column_that_no_store_can_call_so(
    csv: Callable[..., Csv], tmp_path: Path
) -> None:
    columns, header = f"{BOXES},camera=camera no.,track=id,split=h", f"{HEADER},camera no.,id,h"
    source = csv("a.jpg,1,2,3,4,7,left,t1,query", columns=columns, header=header)
    build(source, tmp_path / "o.lmdb", BuildSettings(num_partial_per_box=0))
    with Store(tmp_path / "o.lmdb") as store:
        assert store.roles == Roles(camera="src_camera_no_", track="src_id", split="src_h")
        record = store["a#000"].record
        assert [record[name] for name in ("src_camera_no_", "src_id", "src_h")] == [
            "left",
            "t1",
            "query",
        ]


def test_names_get_numbers_in_their_order_and_stay_as_a_column(csv: Callable[..., Csv]) -> None:
    source = csv("a.jpg,1,2,10,20,zoe", "a.jpg,3,4,5,6,10", "a.jpg,3,4,5,6,")
    (frame,) = source.read().frames
    assert [(row.label, row.fields.get("player")) for row in frame.rows] == [
        (1, "zoe"),
        (0, "10"),
        (-1, None),
    ]


def test_files_that_are_crops_stay_as_they_are(csv: Callable[..., Csv], tmp_path: Path) -> None:
    source = csv("a.jpg,ann", "sub/b.jpg,bea", columns="image=file,label=who", header="file,who")
    build(source, tmp_path / "o.lmdb", BuildSettings(size=None))
    with Store(tmp_path / "o.lmdb") as store:
        assert list(store) == ["a", "sub/b"]
        assert store["sub/b"].jpeg == (source.root / "sub/b.jpg").read_bytes()
        assert (store["sub/b"].label, store["sub/b"].record["who"]) == (1, "bea")


def test_normalised_boxes_are_said_and_never_guessed(
    csv: Callable[..., Csv], tmp_path: Path
) -> None:
    lines = "a.jpg,0.25,0.5,0.5,0.5,7", "sub/b.jpg,0,0,1,1,7"
    with pytest.raises(SourceError, match=r"all 2 are within 0\.\.1, .* --boxes normalised"):
        plan(csv(*lines), tmp_path / "o.lmdb")
    source = csv(*lines, boxes="normalised")
    settings = BuildSettings(num_bg_per_frame=0, expand=1.0, size=None)
    build(source, tmp_path / "o.lmdb", settings)
    with Store(tmp_path / "o.lmdb") as store:
        record = store["a#000"].record
        assert [record[name] for name in "xywh"] == [16, 24, 32, 24]
        assert store["a#000"].image.shape == (24, 32, 3)
        ids = list(store)
    assert plan(source, tmp_path / "p.lmdb", settings).samples == len(ids)
    # The same boxes in pixels give the same negatives.
    pixels = csv("a.jpg,16,24,32,24,7", "sub/b.jpg,0,0,64,48,7")
    build(pixels, tmp_path / "pixels.lmdb", settings)
    with Store(tmp_path / "o.lmdb") as one, Store(tmp_path / "pixels.lmdb") as other:
        assert one.manifest.digest == other.manifest.digest


def test_shares_far_outside_are_skipped(csv: Callable[..., Csv]) -> None:
    source = csv("a.jpg,0.1,0.1,0.5,0.5,7", "a.jpg,100,0,1,1,7", boxes="normalised")
    assert [one.reason for one in source.read().skipped] == ["left is 100, which is out of range"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gone.jpg,1,2,3,4,7", "gone.jpg is not in "),
        (",1,2,3,4,7", "its image must be a path below --root"),
        ("../a.jpg,1,2,3,4,7", "its image must be a path below --root"),
        ("/a.jpg,1,2,3,4,7", "its image must be a path below --root"),
        ("a.jpg,one,2,3,4,7", "left is 'one', which is not a finite number"),
        ("a.jpg,1,2,0,4,7", "width is 0, which is not above 0"),
    ],
)
def test_rows_that_cannot_be_used_are_listed(
    csv: Callable[..., Csv], line: str, reason: str
) -> None:
    listing = csv("a.jpg,1,2,10,20,7", line).read()
    (skipped,) = listing.skipped
    assert skipped.where == "boxes.csv line 3"
    assert skipped.reason.startswith(reason)


def test_a_kind_is_one_of_ours(csv: Callable[..., Csv]) -> None:
    columns, header = "image=file,kind=what", "file,what"
    source = csv("a.jpg,JUNK", "sub/b.jpg,ball", columns=columns, header=header)
    (skipped,) = source.read().skipped
    assert skipped.reason.startswith("what must be of person,")
    assert source.read().frames[0].rows[0].kind is Kind.JUNK


def test_a_missing_column_is_named_with_the_nearest(csv: Callable[..., Csv]) -> None:
    with pytest.raises(SourceError, match=r"lacks lft; it has .* Did you mean left"):
        csv("a.jpg,1,2,3,4,5", columns="image=file,x=lft,y=top,w=width,h=height").read()
    with pytest.raises(SourceError, match="more than one column 'player'"):
        csv("a.jpg,1,2,3,4,5,6", header=f"{HEADER},player").read()
    with pytest.raises(SourceNotFoundError, match="no csv at"):
        Csv(Path("nowhere"), Path("nowhere.csv"), ColumnRoles.parse(BOXES)).read()


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("x=left,y=top,w=width,h=height", "must name the images' column"),
        ("image=file,x=left,y=top", "must name x, y, w, h, or x, y, x2, y2"),
        ("image=file,x=left,y=top,w=width,y2=bottom", "must name x, y, w, h, or x, y, x2, y2"),
        ("image=file,imag=file", "got 'imag'. Did you mean 'image'?"),
        ("image", "must be ROLE=NAME"),
        ("image=file,label=file", "each column once, got 'label=file' again"),
        ("image=file,image=other", "each column once, got 'image=other' again"),
        ("image=file,group=a,time=a", "each column once, got 'time=a' again"),
    ],
)
def test_columns_must_go_together(columns: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        ColumnRoles.parse(columns)
    assert told in str(caught.value)


def test_an_image_of_two_cameras_is_refused(csv: Callable[..., Csv]) -> None:
    columns, header = f"{BOXES},camera=cam", f"{HEADER},cam"
    lines = "a.jpg,1,2,3,4,7,left", "a.jpg,1,2,3,4,8,right"
    with pytest.raises(SourceError, match="a has left on line 2 and right on line 3"):
        csv(*lines, columns=columns, header=header).read()


def test_images_that_differ_in_their_suffix_are_refused(
    csv: Callable[..., Csv], draw: Draw
) -> None:
    draw("images", "a.png")
    with pytest.raises(DuplicateSampleError, match="the same ids: a"):
        csv("a.jpg,1,2,3,4,7", "a.png,1,2,3,4,8").read()


def test_an_identity_in_train_and_query_is_refused(csv: Callable[..., Csv]) -> None:
    columns, header = f"{BOXES},split=part", f"{HEADER},part"
    lines = "a.jpg,1,2,3,4,7,train", "sub/b.jpg,1,2,3,4,7,query"
    with pytest.raises(SourceError, match="query has 7 of train"):
        csv(*lines, columns=columns, header=header).read()
    for lines in (
        ("a.jpg,1,2,3,4,ann,Train", "sub/b.jpg,1,2,3,4,ann,Query"),
        ("a.jpg,1,2,3,4,ann,train", "sub/b.jpg,1,2,3,4,ann,gallery"),
    ):
        with pytest.raises(SourceError, match=r"(query|gallery) has ann of train"):
            csv(*lines, columns=columns, header=header).read()
    meant = csv(*lines, columns=columns, header=header, shared_identities=True)
    assert len(meant.read().frames) == 2


def test_a_root_too_high_says_where_the_images_are(csv: Callable[..., Csv]) -> None:
    source = csv("a.jpg,1,2,3,4,7", "sub/b.jpg,1,2,3,4,8")
    source.root = source.root.parent
    with pytest.raises(SourceError, match=r"a\.jpg is not there.*Use --root .*images"):
        source.read()


def test_a_root_too_low_says_where_the_images_are(csv: Callable[..., Csv]) -> None:
    source = csv("sub/b.jpg,1,2,3,4,8")
    source.root = source.root / "sub"
    with pytest.raises(SourceError, match=r"sub/b\.jpg is not there.*Use --root .*images$"):
        source.read()


def test_the_csv_may_be_named_from_the_root(csv: Callable[..., Csv]) -> None:
    source = csv("a.jpg,1,2,3,4,7")
    parser = argparse.ArgumentParser()
    Csv.configure(parser)
    words = ["--root", str(source.root), "--csv", "boxes.csv", "--columns", BOXES]
    assert Csv.from_args(parser.parse_args(words)).csv == source.root / "boxes.csv"
    with pytest.raises(UsageError, match="needs --csv CSV and --columns, such as"):
        Csv.from_args(parser.parse_args(words[:2]))


def test_an_image_without_its_suffix_is_named_with_it(csv: Callable[..., Csv]) -> None:
    columns: dict[str, Any] = {"columns": "image=file", "header": "file"}
    with pytest.raises(SourceError, match=r"a is not there\. a\.jpg exists: write its suffix too"):
        csv("a", "gone.jpg", **columns).read()
    source = csv("sub/b", "sub/c", "a.jpg", **columns)
    (source.root / "sub" / "c.mp4").touch()
    assert [one.reason.partition(". ")[2] for one in source.read().skipped] == [
        "sub/b.jpg exists: write its suffix too",
        "",
    ]
    (source.root / "sub" / "b.jpg").unlink()
