"""Sequences of frames with gt.txt: MOT Challenge, SportsMOT, SoccerNet-Tracking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from builders import MOT, BuildSettings, Source, TrackFilter, build
from builders.testing import SourceContract
from lmdb_reid.errors import SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import Box
from lmdb_reid.store import Store

Draw = Callable[..., Path]

GT = """\
1,1,2,3,10,20,1,1,0.9
2,1,3,3,10,20,1,1,0.2
3,1,4,3,10,8,1,1,1.0
1,4,20,3,10,20,0,7,1.0
2,4,21,3,10,20,0,1,1.0

1,9,30,3,10,20,1,3,1.0
"""


def sequence(draw: Draw, name: str, gt: str = GT, *, frames: int = 3, first: int = 1) -> Path:
    images = [f"{name}/img1/{at:06d}.jpg" for at in range(first, first + frames)]
    root = draw("mot", *images, size=(40, 64))
    (root / name / "gt").mkdir(exist_ok=True)
    (root / name / "gt" / "gt.txt").write_text(gt)
    return root


def kept(source: Source) -> dict[str, list[tuple[int, int]]]:
    """(number, label) of the rows of each frame."""
    return {
        frame.key.rpartition("/")[2]: [(row.number, row.label) for row in frame.rows]
        for frame in source.read().frames
    }


class TestMOT(SourceContract):
    @pytest.fixture(
        params=[
            {},
            {"frames_present": True, "wanted": TrackFilter(unlabelled_classes=(7,), every=2)},
            {"wanted": TrackFilter(min_visibility=0.5, min_height=10, max_per_identity=1)},
        ]
    )
    def source(self, draw: Draw, request: Any) -> Source:
        sequence(draw, "train/A", f"{GT}9,1,2,3,4,5,1,1,1\n1,2,x\n1,1,1,1,1,1,1,1,1\n")
        return MOT(sequence(draw, "train/B", "1,1,2,3,10,20\n2,2,2,3,10,20\n"), **request.param)


def test_people_keep_their_numbers_whatever_is_left_out(draw: Draw) -> None:
    root = sequence(draw, "A")
    assert kept(MOT(root)) == {"000001": [(0, 0)], "000002": [(0, 0)], "000003": [(0, 0)]}
    wanted = TrackFilter(classes=(1, 3), unlabelled_classes=(7,))
    assert kept(MOT(root, wanted=wanted)) == {
        "000001": [(0, 0), (1, -1), (2, 2)],
        "000002": [(0, 0)],
        "000003": [(0, 0)],
    }
    listing = MOT(root).read()
    assert Counter(one.reason for one in listing.dropped) == {
        "its class 7 is in neither of the lists (--classes)": 1,
        "its class 3 is in neither of the lists (--classes)": 1,
        "it is marked to be ignored (confidence 0)": 1,
    }
    assert [one.where for one in listing.dropped][-1] == "A/gt/gt.txt line 7"
    # Negatives keep away from all of them.
    assert len(listing.frames[0].boxes) == 3


@pytest.mark.parametrize(
    ("wanted", "frames", "reason"),
    [
        ({"min_visibility": 0.5}, [1, 3], "less than 0.5 of it is visible"),
        ({"min_height": 10}, [1, 2], "it is under 10 pixels high"),
        ({"every": 2}, [1, 3], "it is not of every 2. frame"),
        ({"max_per_identity": 2}, [1, 3], "there are 2 others of its identity"),
        ({"max_per_identity": 1}, [1], "there are 1 others of its identity"),
    ],
)
def test_filters_leave_out_and_say_why(
    draw: Draw, wanted: dict[str, Any], frames: list[int], reason: str
) -> None:
    source = MOT(sequence(draw, "A"), wanted=TrackFilter(**wanted))
    assert [int(key) for key in kept(source)] == frames
    assert any(one.reason.startswith(reason) for one in source.read().dropped)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 10, 11])
def test_the_boxes_of_an_identity_are_spread_over_its_track(draw: Draw, most: int) -> None:
    gt = "".join(f"{at},5,2,3,10,20\n" for at in range(1, 11))
    source = MOT(sequence(draw, "A", gt, frames=10), wanted=TrackFilter(max_per_identity=most))
    frames = [int(key) for key in kept(source)]
    assert len(frames) == min(most, 10)
    assert frames[0] == 1
    gaps = {later - earlier for earlier, later in pairwise(frames)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_frames_that_are_not_there_are_skipped_or_left_out(draw: Draw) -> None:
    root = sequence(draw, "A", frames=2)
    (skipped,) = MOT(root).read().skipped
    assert (skipped.where, skipped.frame) == ("A/gt/gt.txt line 3", "A/img1/000003")
    assert "--frames-present" in skipped.reason
    listing = MOT(root, frames_present=True).read()
    assert not listing.skipped
    assert "its frame's image is not there" in {one.reason for one in listing.dropped}


def test_one_sequence_gives_the_ids_that_a_folder_of_them_gives(draw: Draw, tmp_path: Path) -> None:
    root = sequence(draw, "A")
    settings = BuildSettings(num_bg_per_frame=0, num_partial_per_box=0)
    build(MOT(root), tmp_path / "all.lmdb", settings)
    build(MOT(root / "A"), tmp_path / "one.lmdb", settings)
    with Store(tmp_path / "all.lmdb") as both, Store(tmp_path / "one.lmdb") as one:
        assert list(both) == list(one) == [f"A/img1/00000{at}#000" for at in (1, 2, 3)]
        record = one["A/img1/000002#000"].record
        assert (record["sequence"], record["frame"], record["track"]) == ("A", 2, "A/1")
        assert (record["class"], record["visibility"]) == (1, 0.2)


def test_identities_are_people_of_their_sequence_and_splits_are_folders(draw: Draw) -> None:
    sequence(draw, "train/A", "1,1,2,3,10,20,1,-1,-1,-1\n")
    sequence(draw, "test/C", "1,1,4,3,10,20,1,-1,-1,-1\n")
    listing = MOT(sequence(draw, "train/B", "1,1,3,3,10,20,1,-1,-1,-1\n")).read()
    assert listing.roles is not None
    assert listing.roles.split == "split"
    facts = [(one.key, one.fields["split"], one.rows[0].label) for one in listing.frames]
    assert facts == [
        ("test/C/img1/000001", "test", 0),
        ("train/A/img1/000001", "train", 1),
        ("train/B/img1/000001", "train", 2),
    ]
    assert [one.key for one in MOT(tmp_root(listing), sequences="[AC]").read().frames] == [
        "test/C/img1/000001",
        "train/A/img1/000001",
    ]


def tmp_root(listing: Any) -> Path:
    return Path(listing.places["root"])


def test_the_ball_is_left_out_and_roles_are_columns(draw: Draw) -> None:
    root = sequence(draw, "A", "1,1,2,3,10,20\n1,2,30,3,4,4\n1,3,9,3,10,20\n")
    ini = "[Sequence]\ntrackletID_1= player team left;93\ntrackletID_2= ball;1\ntrackletID_3= x\n"
    (root / "A" / "gameinfo.ini").write_text(ini)
    listing = MOT(root).read()
    (frame,) = listing.frames
    assert [(row.number, row.label) for row in frame.rows] == [(0, 0), (2, 1)]
    assert frame.rows[0].fields == {"track": "A/1", "role": "player team left", "shirt": "93"}
    assert [one.reason for one in listing.dropped] == ["its track is the ball (gameinfo.ini)"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3", "it must be frame,id,x,y,w,h,..., got '1,2,3'"),
        ("1,2,3,4,five,6", "it must be frame,id,x,y,w,h,... in numbers"),
        ("1,2,3,4,nan,6", "its numbers must be finite"),
        ("1.5,2,3,4,5,6", "frame and id must be whole"),
        ("1,2,3,4,0,6", "its box must have a width and a height, got 0 x 6"),
        ("1,1,3,4,5,6", "its track 1 is in the frame already (line 1)"),
    ],
)
def test_lines_that_cannot_be_used_are_listed(draw: Draw, line: str, reason: str) -> None:
    listing = MOT(sequence(draw, "A", f"{GT}{line}\n")).read()
    (skipped,) = listing.skipped
    assert skipped.where == "A/gt/gt.txt line 8"
    assert skipped.reason.startswith(reason)


def test_boxes_wholly_outside_are_skipped(draw: Draw, tmp_path: Path) -> None:
    root = sequence(draw, "A", "1,1,2,3,10,20\n1,2,100,3,10,20\n")
    report = build(MOT(root), tmp_path / "o.lmdb", max_skipped=0.5)
    (skipped,) = report.skipped
    assert skipped.where == "A/gt/gt.txt line 2"
    assert "is outside the 64x40 frame" in skipped.reason


def test_the_gt_of_another_sequence_is_refused(draw: Draw) -> None:
    root = sequence(draw, "A")
    (root / "A" / "seqinfo.ini").write_text("[Sequence]\nseqLength=2\nimDir=img1\n")
    with pytest.raises(SourceError, match=r"it has frame 3\. Is it the gt\.txt of"):
        MOT(root).read()
    (root / "A" / "seqinfo.ini").unlink()
    sequence(draw, "A-DPM")
    with pytest.raises(SourceError, match=r"those of A and A-DPM are the same. Choose one of them"):
        MOT(root).read()
    assert len(MOT(root, sequences="*-DPM").read().frames) == 3
    with pytest.raises(SourceError, match=r"--sequences must name.*got 'B'; they are A, A-DPM"):
        MOT(root, sequences="B").read()


def test_the_pattern_that_is_proposed_fits(draw: Draw) -> None:
    root = sequence(draw, "M-1-DPM")
    sequence(draw, "M-1-SDP")
    sequence(draw, "M-2-DPM", "1,1,2,3,4,9\n")
    with pytest.raises(SourceError, match=r"such as --sequences '\*-DPM'$"):
        MOT(root).read()
    assert len(MOT(root, sequences="*-DPM").read().frames) == 4


def test_the_pattern_for_names_without_a_dash_is_a_name(draw: Draw) -> None:
    root = sequence(draw, "A")
    sequence(draw, "B")
    with pytest.raises(SourceError, match=r"such as --sequences 'A'$"):
        MOT(root).read()
    assert len(MOT(root, sequences="A").read().frames) == 3


@pytest.mark.parametrize(
    ("gt", "first", "offset"),
    [("0,1,2,3,4,5\n2,1,2,3,4,5\n", 1, 1), ("1,1,2,3,4,5\n3,1,2,3,4,5\n", 0, -1)],
)
def test_frames_counted_from_0_and_from_1_are_not_mixed(
    draw: Draw, gt: str, first: int, offset: int
) -> None:
    root = sequence(draw, "A", gt, first=first)
    with pytest.raises(SourceError, match=f"Use --frame-offset {offset}"):
        MOT(root).read()
    listing = MOT(root, frame_offset=offset).read()
    assert [one.key[-1] for one in listing.frames] == [str(first), str(first + 2)]
    assert listing.frames[0].rows[0].box == Box(2, 3, 4, 5)


def test_a_folder_without_sequences_says_where_they_are(draw: Draw) -> None:
    root = sequence(draw, "a/b/A")
    with pytest.raises(SourceError, match=rf"The images are in {root / 'a'}. Use --root"):
        MOT(root).read()
    with pytest.raises(SourceError, match=rf"The images are in {root / 'a/b/A'}. Use --root"):
        MOT(root / "a" / "b" / "A" / "img1").read()
    with pytest.raises(SourceNotFoundError, match="no folder at"):
        MOT(root / "nowhere").read()


@pytest.mark.parametrize(
    "words",
    [
        {"classes": (1,), "unlabelled_classes": (1, 2)},
        {"min_visibility": 2.0},
        {"min_height": -1.0},
        {"every": 0},
        {"max_per_identity": 0},
    ],
)
def test_filters_out_of_range(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        TrackFilter(**words)


def test_a_sequence_without_images_is_named(draw: Draw) -> None:
    root = sequence(draw, "A")
    for name in ("B", "C-FRCNN"):
        (root / name / "gt").mkdir(parents=True)
        (root / name / "gt" / "gt.txt").write_text(GT)
    with pytest.warns(UserWarning, match=r"sequences of .* are left out \(2\): B, C-FRCNN"):
        listing = MOT(root).read()
    assert listing.rows == 6
    with pytest.warns(UserWarning, match=r"left out \(1\): B$"):
        MOT(root, sequences="[AB]").read()
    MOT(root, sequences="A").read()
