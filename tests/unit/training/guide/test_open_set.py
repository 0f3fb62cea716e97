from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import AtmaCup, BuildSettings, build
from builders.negatives import list_negatives as all_negatives
from builders.negatives import random_negatives, write_negatives_csv
from builders.samples import BoxSample
from lmdb_reid.codec import encode
from lmdb_reid.errors import SourceNotFoundError, TooManySkippedError, UsageError
from lmdb_reid.schema import Kind
from lmdb_reid.store import Store, StoreWriter
from training import (
    build_open_set_splits,
    build_open_set_splits_cv,
    load_negatives_from_csv,
    load_train_meta,
    save_fold_metadata,
)
from training.guide import OpenSet
from training.splits import source_order

LABELS = 11
FRAMES = (8, 9, 10, 98, 99, 100, 101)  # numbers whose order as text is another
Split = Callable[..., OpenSet[Any]]


class Data:
    """A csv, its frames, its negatives and its store."""

    def __init__(self, folder: Path, rows: list[str]) -> None:
        self.meta, self.images = folder / "train_meta.csv", folder / "images"
        self.negatives, self.store = folder / "negatives.csv", folder / "s.lmdb"
        self.images.mkdir()
        self.meta.write_text("\n".join(["quarter,angle,session,frame,x,y,w,h,label_id", *rows]))
        picture = encode(np.zeros((200, 400, 3), np.uint8))
        for quarter, angle, session, number, *_ in (row.split(",") for row in rows):
            name = f"{quarter}__{angle}__{int(session):02d}__{int(number):02d}.jpg"
            (self.images / name).write_bytes(picture)

    def make(self) -> None:
        source = AtmaCup(self.meta, self.images)
        samples, _ = all_negatives(source.read(), random_negatives(BuildSettings()))
        write_negatives_csv(self.negatives, samples)
        build(source, self.store, BuildSettings(size=(32, 16), quality=50))

    @property
    def given(self) -> dict[str, Any]:
        return {
            "train_meta_path": self.meta,
            "img_root": self.images,
            "neg_csv_path": self.negatives,
        }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Two quarters, two angles, seven frames each, eleven players and one row labelled -1."""
    rows = [
        f"{quarter},{angle},0,{frame},{20 + 30 * label},{20 + label},30,{60 + label},{label}"
        for quarter in ("Q1-000", "Q2-000")
        for angle in ("side", "top")
        for frame in FRAMES
        for label in range(LABELS)
    ]
    rows.insert(5, "Q1-000,side,0,8,350,100,30,60,-1")
    rows.insert(9, "Q1-000,side,0,8,10,100,90,90,4")  # over twice the others' area
    made = Data(tmp_path_factory.mktemp("data"), rows)
    made.make()
    return made


def keys(samples: list[BoxSample]) -> list[str]:
    return [sample.id for sample in samples]


@pytest.fixture(params=["share", "fold"])
def split(request: pytest.FixtureRequest) -> Split:
    return build_open_set_splits if request.param == "share" else build_open_set_splits_cv


def test_a_fold_holds_out_what_the_guide_holds_out(data: Data) -> None:
    order = list(range(LABELS))
    random.Random(42).shuffle(order)
    for fold in range(5):
        known, unknown, known_labels, unknown_labels = build_open_set_splits_cv(
            train_meta_path=str(data.meta),
            img_root=str(data.images),
            bbox_mode="drop",
            n_folds=5,
            fold_idx=fold,
            use_precomputed_negatives=True,
            neg_csv_path=str(data.negatives),
        )
        held_out = order[2 * fold : 2 * fold + 2]
        assert unknown_labels == sorted(held_out)
        assert known_labels == sorted(set(order) - set(held_out))
        assert {sample.label_id for sample in known} == set(known_labels)
        assert {sample.label_id for sample in unknown} == {*held_out, -1}


def test_known_and_unknown_have_every_box_once(data: Data, split: Split) -> None:
    known, unknown, *_ = split(**data.given)
    players = [*known, *(sample for sample in unknown if sample.kind == Kind.PERSON)]
    assert len(players) == 2 * 2 * len(FRAMES) * LABELS + 1  # without the outlier
    assert len(set(keys(players))) == len(players)
    assert {sample.kind for sample in known} == {Kind.PERSON}
    strangers = [s for s in unknown if s.kind == Kind.PERSON and s.label_id == -1]
    assert keys(strangers) == ["Q1-000__side__00__08#005"]
    negatives = [sample for sample in unknown if sample.kind != Kind.PERSON]
    assert negatives == load_negatives_from_csv(data.negatives)
    assert {sample.kind for sample in negatives} == {Kind.BACKGROUND, Kind.PARTIAL}


def test_samples_have_the_guides_attributes(data: Data, split: Split) -> None:
    first = split(**data.given).known[0]
    assert (first.quarter, first.angle, first.session, first.frame) == ("Q1-000", "side", 0, 8)
    assert first.x == 20 + 30 * first.label_id
    assert (first.y, first.w, first.h) == (20 + first.label_id, 30, 60 + first.label_id)
    assert first.img_path == str(data.images / "Q1-000__side__00__08.jpg")


def test_known_samples_stand_in_the_csvs_order(data: Data, split: Split) -> None:
    known = split(**data.given).known
    moments = [(sample.quarter, sample.angle, sample.frame) for sample in known]
    assert moments == sorted(moments)
    assert keys(known) != sorted(keys(known))


def test_a_store_gives_the_same_samples_as_rows(data: Data, split: Split) -> None:
    for options in ({}, {"add_bg_negatives": False}, {"add_partial_negatives": False}):
        samples = split(**data.given, **options)
        rows = split(store=data.store, **options)
        with Store(data.store) as store:
            opened = split(store=store, **options)
            for part in ("known", "unknown"):
                found = getattr(rows, part)
                assert found.dtype == np.int64
                assert [store.ids[row] for row in found] == keys(getattr(samples, part)), options
                assert found.tolist() == getattr(opened, part).tolist()
                labels = store.columns["label"][found].tolist()
                assert labels == [sample.label_id for sample in getattr(samples, part)]
        assert samples[2:] == rows[2:] == opened[2:]


def test_negatives_made_on_the_fly_are_those_of_the_csv(data: Data, split: Split) -> None:
    from_csv = split(**data.given)
    made = split(data.meta, data.images, use_precomputed_negatives=False, neg_csv_path="nowhere")
    assert made == from_csv


@pytest.mark.parametrize("precomputed", [True, False])
def test_negatives_that_are_not_wanted(data: Data, split: Split, precomputed: bool) -> None:
    given = data.given | {"use_precomputed_negatives": precomputed}

    def kinds(**options: bool) -> set[Kind]:
        return {sample.kind for sample in split(**given, **options).unknown}

    assert kinds(add_bg_negatives=False) == {Kind.PERSON, Kind.PARTIAL}
    assert kinds(add_partial_negatives=False) == {Kind.PERSON, Kind.BACKGROUND}
    given["neg_csv_path"] = "nowhere"  # not asked for
    assert kinds(add_bg_negatives=False, add_partial_negatives=False) == {Kind.PERSON}


def test_a_missing_csv_is_answered_with_the_command_that_makes_it(
    data: Data, split: Split, tmp_path: Path
) -> None:
    path = tmp_path / "negatives.csv"
    with pytest.raises(FileNotFoundError) as caught:
        split(**data.given | {"neg_csv_path": path})
    assert (
        f"lmdb-reid negatives --train-meta {data.meta} --img-root {data.images} --output {path}"
        in str(caught.value)
    )


def test_the_share_decides_how_many_are_held_out(data: Data) -> None:
    counts = [
        len(build_open_set_splits(store=data.store, unknown_ratio=ratio).unknown_labels)
        for ratio in (0, 0.05, 0.2, 0.5)
    ]
    assert counts == [0, 1, 2, 5]
    assert (
        build_open_set_splits(store=data.store)[2:]
        == (build_open_set_splits_cv(store=data.store)[2:])
    )


def test_seeds(data: Data) -> None:
    held = {tuple(build_open_set_splits(store=data.store, seed=s).unknown_labels) for s in range(9)}
    assert len(held) > 3
    held = {
        tuple(build_open_set_splits_cv(store=data.store, cv_seed=s).unknown_labels)
        for s in range(9)
    }
    assert len(held) > 3


def test_boxes_that_grow_are_dropped_or_kept(data: Data, split: Split) -> None:
    outlier = "Q1-000__side__00__08#009"
    dropped = split(**data.given)
    kept = split(**data.given, bbox_mode="keep")
    assert outlier not in keys(dropped.known + dropped.unknown)
    assert outlier in keys(kept.known + kept.unknown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass train_meta_path and img_root, or a store"),
        ({"train_meta_path": "a.csv"}, "pass train_meta_path and img_root, or a store"),
        ({"store": "s", "train_meta_path": "a.csv"}, "one of the two"),
        ({"store": "s", "img_root": "images"}, "one of the two"),
    ],
)
def test_what_to_split_must_be_clear(split: Split, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(**options)


def test_a_store_of_another_bbox_mode_is_refused(data: Data, split: Split) -> None:
    with pytest.raises(UsageError, match=r"bbox_mode='keep', but .* was built with 'drop'"):
        split(store=data.store, bbox_mode="keep")


def test_more_folds_than_labels_allow(data: Data) -> None:
    with pytest.raises(UsageError, match="need 12, and there are 11"):
        build_open_set_splits_cv(store=data.store, n_folds=6)
    with pytest.raises(UsageError, match="fold must be 0 to 4, one of 5 folds, got 5"):
        build_open_set_splits_cv(**data.given, fold_idx=5)


def test_nothing_there(data: Data, split: Split, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        split(tmp_path / "train_meta.csv", data.images)
    with pytest.raises(FileNotFoundError):
        split(store=tmp_path / "s.lmdb")


def test_rows_that_cannot_be_used_are_told_and_many_are_refused(
    tmp_path: Path, split: Split
) -> None:
    rows = [f"Q1,side,0,{frame},9,9,30,60,{frame % 11}" for frame in range(1, 101)]
    made = Data(tmp_path, rows)
    (made.images / "Q1__side__00__41.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"1 of 100 rows cannot be used .* line 42: ") as caught:
        found = split(made.meta, made.images, use_precomputed_negatives=False)
    assert len(caught) == 1
    assert {sample.frame for sample in found.known + found.unknown} == {*range(1, 101)} - {41}
    for number in range(10, 16):
        (made.images / f"Q1__side__00__{number}.jpg").unlink()
    with pytest.raises(TooManySkippedError, match="7 of 100 rows"):
        split(made.meta, made.images, use_precomputed_negatives=False)


def test_rows_of_other_kinds_are_in_neither_part(tmp_path: Path, split: Split) -> None:
    picture = encode(np.zeros((16, 8, 3), np.uint8))
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        for number in range(6):
            writer.put(f"a{number}", picture, {"label": number})
        writer.put("b0", picture, {"label": -1, "kind": int(Kind.JUNK)})
        writer.put("b1", picture, {"label": 0, "kind": int(Kind.DISTRACTOR)})
        writer.put("b2", picture, {"label": -1, "kind": int(Kind.BACKGROUND)})
        writer.seal()
    options = {} if split is build_open_set_splits else {"n_folds": 3}
    found = split(store=tmp_path / "s.lmdb", **options)
    assert sorted([*found.known, *found.unknown]) == [0, 1, 2, 3, 4, 5, 8]


def test_source_order_is_the_csvs_and_negatives_come_last(data: Data) -> None:
    with Store(data.store) as store:
        order = source_order(store)
        stood = store.columns["src_order"][order].tolist()
        persons = int((store.columns["kind"] == Kind.PERSON).sum())
    assert sorted(order.tolist()) == list(range(len(order)))
    assert order.tolist() != sorted(order.tolist())
    assert stood[:persons] == sorted(stood[:persons]) and min(stood[:persons]) >= 0
    assert set(stood[persons:]) == {-1}


# -- what later versions of the guide's code ask for -----------------------------------------------


def test_a_fold_that_was_saved_is_taken(data: Data, tmp_path: Path) -> None:
    samples = load_train_meta(data.meta, data.images)
    train, val = samples[:5], samples[20:22]
    save_fold_metadata(1, train, val, [3, 7], tmp_path)
    found = build_open_set_splits_cv(
        train_meta_path=data.meta, fold_idx=1, fold_meta_dir=tmp_path, add_negatives=False
    )
    assert found.known == [*train, *val]
    assert found.unknown_labels == [3, 7]
    assert {sample.label_id for sample in found.unknown} == {3, 7, -1}


def test_a_fold_that_was_not_saved_is_computed(data: Data, tmp_path: Path) -> None:
    found = build_open_set_splits_cv(
        train_meta_path=data.meta,
        fold_idx=1,
        fold_meta_dir=tmp_path,
        neg_csv_path=data.negatives,
        add_negatives=True,
    )
    other = build_open_set_splits_cv(**data.given, fold_idx=1)
    assert found[2:] == other[2:]
    assert len(found.known) == len(other.known)
    assert {sample.kind for sample in found.unknown} == {sample.kind for sample in other.unknown}


def test_without_its_negatives_a_saved_fold_says_so(data: Data, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="without negatives: Negatives CSV not found"):
        build_open_set_splits_cv(
            train_meta_path=data.meta, fold_meta_dir=tmp_path, neg_csv_path=tmp_path / "no.csv"
        )


def test_negatives_without_a_kind_are_told_apart_by_where_they_lie(
    data: Data, split: Split, tmp_path: Path
) -> None:
    table = pd.read_csv(data.negatives)
    path = tmp_path / "theirs.csv"
    table.drop(columns=["kind", "id"]).to_csv(path, index=False)
    given = data.given | {"neg_csv_path": path}
    kinds = [s.kind for s in split(**given).unknown if s.kind != Kind.PERSON]
    assert kinds == [s.kind for s in split(**data.given).unknown if s.kind != Kind.PERSON]
    assert Kind.PARTIAL in kinds and Kind.BACKGROUND in kinds


@pytest.mark.parametrize(
    ("name", "nearest"), [("n_fold", "n_folds"), ("neg_csv", "neg_csv_path"), ("seed", "cv_seed")]
)
def test_an_argument_that_no_version_had_is_answered_with_the_nearest(
    name: str, nearest: str
) -> None:
    with pytest.raises(TypeError, match=f"no argument {name!r}. Did you mean {nearest!r}") as it:
        build_open_set_splits_cv(**{name: 1})
    assert isinstance(it.value, UsageError)
