"""COCO json, with identities and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import BuildSettings, Coco, Source, build
from builders.testing import SourceContract
from lmdb_reid.errors import DuplicateSampleError, SourceError, SourceNotFoundError
from lmdb_reid.schema import Box, Roles
from lmdb_reid.store import Store

Draw = Callable[..., Path]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 37, "name": "sports ball"}]
IMAGES = [{"id": 10, "file_name": "a.jpg"}, {"id": 11, "file_name": "sub/b.jpg"}]


def note(image: Any = 10, category: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [1, 2, 10, 20], **more}


@pytest.fixture
def coco(draw: Draw) -> Callable[..., Coco]:
    root = draw("coco", "a.jpg", "sub/b.jpg", size=(48, 64))

    def of(*notes: Any, images: Any = IMAGES, categories: Any = CATEGORIES, **options: Any) -> Coco:
        document = {"images": images, "annotations": notes, "categories": categories}
        (root / "coco.json").write_text(json.dumps(document))
        return Coco(root, root / "coco.json", **options)

    return of


def labels(source: Source) -> dict[str, list[int]]:
    return {frame.key: [row.label for row in frame.rows] for frame in source.read().frames}


class TestCoco(SourceContract):
    @pytest.fixture(params=["with identities", "without"])
    def source(self, coco: Callable[..., Coco], request: Any) -> Source:
        who = (lambda number: {"track_id": number}) if "with " in request.param else lambda _: {}
        images = [*IMAGES, {"id": 12, "file_name": "gone.jpg"}]
        notes = [note(**who(4)), note(11, **who(5)), note(11, 37), note(12), note(99)]
        return coco(*notes, note(iscrowd=1), images=images)


def test_boxes_without_identities_are_people_unknown(
    coco: Callable[..., Coco], tmp_path: Path
) -> None:
    source = coco(note(), note(11, bbox=[3.5, 2, 10, 20]))
    assert labels(source) == {"a": [-1], "sub/b": [-1]}
    assert source.read().frames[1].rows[0].box == Box(3.5, 2, 10, 20)
    build(source, tmp_path / "o.lmdb", BuildSettings(num_bg_per_frame=0, num_partial_per_box=0))
    with Store(tmp_path / "o.lmdb") as store:
        assert list(store) == ["a#000", "sub/b#000"]
        assert store["a#000"].record["category"] == "person"


def test_an_identity_is_a_track_or_an_attribute(coco: Callable[..., Coco]) -> None:
    assert labels(coco(note(track_id=7), note(11, track_id=9), note(11))) == {
        "a": [7],
        "sub/b": [9, -1],
    }
    by_name = [note(attributes={"player": "bea"}), note(11, attributes={"player": "ann"})]
    source = coco(*by_name, identity="player")
    assert labels(source) == {"a": [1], "sub/b": [0]}
    assert source.read().frames[0].rows[0].fields["identity"] == "bea"
    with pytest.raises(SourceError, match=r"must have playr .*Did you mean player"):
        coco(*by_name, identity="playr").read()


def test_tracks_are_those_of_their_video(coco: Callable[..., Coco]) -> None:
    images = [IMAGES[0] | {"video_id": 1}, IMAGES[1] | {"video_id": 2}]
    source = coco(note(track_id=7), note(11, track_id=7), images=images)
    assert labels(source) == {"a": [0], "sub/b": [1]}
    assert source.read().roles == Roles(group=("video",))


def test_categories_are_people_unless_others_are_named(coco: Callable[..., Coco]) -> None:
    notes = note(), note(category=37)
    listing = coco(*notes).read()
    assert [row.number for row in listing.frames[0].rows] == [0]
    assert [one.where for one in listing.dropped] == ["coco.json annotation 1"]
    assert len(coco(*notes, classes=("37",)).read().frames[0].rows) == 1
    assert len(coco(*notes, categories=[]).read().frames[0].rows) == 2
    with pytest.raises(SourceError, match=r"got 'persn'\. Did you mean 'person'"):
        coco(*notes, classes=("persn",)).read()


def test_crowds_are_left_out_and_masks_are_not_looked_at(coco: Callable[..., Coco]) -> None:
    rle = {"counts": "abc", "size": [48, 64]}
    listing = coco(note(segmentation=rle), note(iscrowd=1, segmentation=rle)).read()
    assert [row.number for row in listing.frames[0].rows] == [0]
    assert [one.reason for one in listing.dropped] == ["it marks a crowd (iscrowd)"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (note(99), "no image has the id 99"),
        (note([1]), "no image has the id '[1]'"),
        (note(bbox=[1, 2, 3]), "its bbox must be [x, y, w, h]"),
        (note(bbox=[1, 2, 3, None]), "its bbox must be four numbers"),
        (note(bbox=[1, 2, 0, 4]), "its bbox must have a width and a height"),
        ("text", "no image has the id None"),
        (note(12), "gone.jpg is not in "),
        (note(13), "its image must be a path below --root"),
    ],
)
def test_annotations_that_cannot_be_used_are_listed(
    coco: Callable[..., Coco], bad: Any, reason: str
) -> None:
    images = [*IMAGES, {"id": 12, "file_name": "gone.jpg"}, {"id": 13, "file_name": "../a.jpg"}]
    listing = coco(note(), bad, images=images).read()
    (skipped,) = listing.skipped
    assert skipped.where == "coco.json annotation 1"
    assert skipped.reason.startswith(reason)


def test_a_json_that_is_no_coco_is_refused(coco: Callable[..., Coco]) -> None:
    with pytest.raises(SourceError, match="must have images; its list of them is empty"):
        coco(note(), images=[]).read()
    with pytest.raises(SourceError, match="an image must have id and file_name"):
        coco(note(), images=[{"id": 3}]).read()
    with pytest.raises(DuplicateSampleError, match=r"10 is that of a\.jpg and sub/b\.jpg"):
        coco(note(), images=[IMAGES[0], IMAGES[1] | {"id": 10}]).read()
    source = coco(note())
    deep = '{"images": [' + "[" * 100_000
    for text, told in (
        ("{", "is not a usable json"),
        (deep, "is not a usable json: it is nested deeper than 200"),
        ("[]", "must have a list of images"),
    ):
        source.annotations.write_text(text)
        with pytest.raises(SourceError, match=told):
            source.read()
    source.annotations.unlink()
    with pytest.raises(SourceNotFoundError, match="no json at"):
        source.read()


def test_any_encoding_of_json_is_read(coco: Callable[..., Coco]) -> None:
    source = coco(note(track_id="é 北"))
    text = source.annotations.read_text()
    wanted = source.read().rows
    for encoding in ("utf-8-sig", "utf-16", "utf-32-le"):
        source.annotations.write_text(text, encoding=encoding)
        assert source.read().rows == wanted
        source.annotations.write_text("[" * 100_000, encoding=encoding)
        with pytest.raises(SourceError, match="nested deeper than 200"):
            source.read()


def test_a_root_too_high_says_where_the_images_are(coco: Callable[..., Coco]) -> None:
    source = coco(note())
    source.root = source.root.parent
    with pytest.raises(SourceError, match=r"a\.jpg is not there.*Use --root .*coco"):
        source.read()
