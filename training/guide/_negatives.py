"""Negatives by the guide's calls; thin over builders.negatives."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from builders.negatives import background_boxes, partial_boxes
from builders.negatives import load_negatives_from_csv as load_csv
from builders.samples import BoxSample
from lmdb_reid import codec
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import ImageError, SourceError, SourceNotFoundError
from lmdb_reid.schema import NO_LABEL, Box, Kind, Size
from training.guide._tracks import Place, load_train_meta

NEG_CSV = "inputs/train_negatives.csv"
META = "inputs/atmaCup22_2nd_meta/train_meta.csv"
IMAGES = "inputs/images"

_Frame = tuple[str, str, int, int]
_ANYWHERE = 1 << 30  # a frame that no part of a box reaches past


@known_arguments()
def load_negatives_from_csv(
    neg_csv_path: Place, *, train_meta: Place = META, img_root: Place = IMAGES
) -> list[BoxSample]:
    """The negatives of a csv, in its order; see `builders.negatives.load_negatives_from_csv`.

    A csv without a column `kind`, as the guide's own script writes it: what lies inside a person's
    box is a partial, where `train_meta` is there to say so.

    Args:
        neg_csv_path: the csv.
        train_meta: the csv of people's boxes.
        img_root: what to name in the command that makes a csv of negatives.
    """
    found = load_csv(neg_csv_path, train_meta=train_meta, img_root=img_root)
    if _has_kinds(neg_csv_path) or not Path(train_meta).is_file():
        return found
    return with_kinds(found, load_train_meta(train_meta, img_root))


def with_kinds(negatives: Iterable[BoxSample], people: Iterable[BoxSample]) -> list[BoxSample]:
    """The negatives, each a partial if it lies inside a box of `people` of its frame, else a
    background.
    """
    boxes: dict[_Frame, list[BoxSample]] = {}
    for person in people:
        boxes.setdefault(_frame(person), []).append(person)
    found = []
    for one in negatives:
        inside = any(_is_inside(one, person) for person in boxes.get(_frame(one), ()))
        found.append(dataclasses.replace(one, kind=Kind.PARTIAL if inside else Kind.BACKGROUND))
    return found


@known_arguments()
def generate_background_negatives(
    samples: Sequence[BoxSample], num_bg_per_frame: int = 1
) -> list[BoxSample]:
    """Boxes beside the samples of every frame, as a build draws them; of each frame only the header
    is read, and one that cannot be read gives none.

    Raises:
        UsageError: a count out of range.
    """
    frames: dict[_Frame, list[BoxSample]] = {}
    for sample in samples:
        frames.setdefault(_frame(sample), []).append(sample)
    found = []
    for people in frames.values():
        size = _size(people[0].img_path)
        if size is None:
            continue
        boxes = background_boxes(
            [_box(person) for person in people],
            size,
            seed=0,
            frame_key=Path(people[0].img_path).stem,
            count=num_bg_per_frame,
        )
        found += [_negative(people[0], box, Kind.BACKGROUND) for _, box in boxes]
    return found


@known_arguments()
def generate_partial_negatives(
    samples: Sequence[BoxSample], num_partial_per_box: int = 1, max_iou_with_gt: float = 0.4
) -> list[BoxSample]:
    """Boxes inside the samples' own, as a build draws them; no frame is opened.

    Raises:
        UsageError: a count or share out of range.
    """
    found = []
    for number, sample in enumerate(samples):
        if sample.w <= 0 or sample.h <= 0:
            continue
        boxes = partial_boxes(
            _box(sample),
            (_ANYWHERE, _ANYWHERE),
            seed=0,
            sample_id=sample.id or f"{Path(sample.img_path).stem}#{number:03d}",
            count=num_partial_per_box,
            max_iou=max_iou_with_gt,
        )
        found += [_negative(sample, box, Kind.PARTIAL) for _, box in boxes]
    return found


def _negative(sample: BoxSample, box: Box, kind: Kind) -> BoxSample:
    x, y, w, h = (int(side) if side == int(side) else side for side in box)
    return dataclasses.replace(sample, x=x, y=y, w=w, h=h, label_id=NO_LABEL, kind=kind, id="")


def _frame(sample: BoxSample) -> _Frame:
    return sample.quarter, sample.angle, sample.session, sample.frame


def _box(sample: BoxSample) -> Box:
    return Box(sample.x, sample.y, sample.w, sample.h)


def _is_inside(one: BoxSample, other: BoxSample) -> bool:
    return (
        other.x <= one.x
        and other.y <= one.y
        and one.x + one.w <= other.x + other.w
        and one.y + one.h <= other.y + other.h
    )


def _has_kinds(path: Place) -> bool:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return "kind" in next(csv.reader(file), [])


def _size(path: str | os.PathLike[str]) -> Size | None:
    try:
        info = codec.probe_file(Path(path))
    except (ImageError, SourceError, SourceNotFoundError, OSError):
        return None
    return info.height, info.width
