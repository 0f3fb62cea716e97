from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Store, StoreWriter, codec
from lmdb_reid.errors import FeaturesError, UsageError
from lmdb_reid.schema import Kind, Roles
from training.data import StoreData
from training.evaluation import evaluate
from training.features import Features
from training.ranking import (
    SOCCERNET,
    Entries,
    FeatureDistances,
    Predictions,
    rank,
    rerank,
    score_open_set,
    tune_open_set,
)
from training.splits import Split

COUNT = 48


def sealed(path: Path, roles: Roles, **changed: Any) -> Store:
    """48 people of 8 identities, three cameras, two games; two backgrounds and one junk."""
    with StoreWriter(path, roles=roles) as writer:
        for number in range(COUNT):
            kind = {7: Kind.BACKGROUND, 19: Kind.BACKGROUND, 30: Kind.JUNK}.get(number, Kind.PERSON)
            record = {
                "label": number * 5 % 8 if kind == Kind.PERSON else -1,
                "kind": int(kind),
                "cam": number % 3,
                "place": f"p{number % 2}",
                "game": number // 24,
            } | {name: value for name, value in changed.items() if number == 3}
            picture = np.full((8, 4, 3), 5 * number, np.uint8)
            writer.put(f"{number:03d}", codec.encode(picture), record)
        writer.seal()
    return Store(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("stores")
    return sealed(folder / "people.lmdb", Roles(camera="cam", group=("game", "place")))


@pytest.fixture(scope="module")
def features(store: Store) -> Features:
    random = np.random.default_rng(0)
    centres = random.standard_normal((9, 6))
    array = centres[store.columns["label"]] + random.standard_normal((COUNT, 6))
    return Features.save(store, "f", array.astype(np.float32), made_by={})


RANKED = Split(parts={"query": np.arange(0, 12), "gallery": np.arange(12, 48)}, labels=[])


def entries(store: Store, rows: Any, **columns: Any) -> Entries:
    return Entries(
        labels=store.columns["label"][rows], kinds=store.columns["kind"][rows], **columns
    )


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scores_are_those_of_rank(store: Store, features: Features, metric: Any) -> None:
    found = evaluate(store, features, RANKED, metric=metric)
    rows = np.arange(12), np.arange(12, 48)
    distances = FeatureDistances(*(features.array[side] for side in rows), metric=metric)
    wanted = rank(distances, *(entries(store, side, cameras=side % 3) for side in rows))
    assert found.scores.summary() == wanted.summary()
    assert found.scores.same_camera
    assert found.scores.left_out == 1  # the background
    assert found.scores.gallery == 35  # without the junk
    assert (found.parts, found.why_no_cameras) == (("query", "gallery"), None)
    assert found.open_set is None


def test_re_ranked_scores_are_those_of_rerank(store: Store, features: Features) -> None:
    found = evaluate(store, features, RANKED, reranked=True)
    rows = np.arange(12), np.arange(12, 48)
    distances = rerank(*(features.array[side] for side in rows))
    wanted = rank(distances, *(entries(store, side, cameras=side % 3) for side in rows))
    assert found.scores.summary() == wanted.summary()
    assert found.is_reranked


def test_few_pictures_are_re_ranked_by_as_many_neighbours_as_there_are(
    store: Store, features: Features
) -> None:
    few = Split(parts={"query": np.arange(0, 2), "gallery": np.arange(8, 17)}, labels=[])
    assert evaluate(store, features, few, reranked=True).scores.queries == 2


def test_groups_hold_identities_apart(store: Store, features: Features) -> None:
    found = evaluate(store, features, RANKED, rules=SOCCERNET)
    rows = np.arange(12), np.arange(12, 48)
    distances = FeatureDistances(*(features.array[side] for side in rows))
    sides = [entries(store, side, groups=side // 24 * 2 + side % 2) for side in rows]
    assert found.scores.summary() == rank(distances, *sides, rules=SOCCERNET).summary()
    assert found.why_no_cameras is None  # nobody asked for them


def test_without_roles_the_rules_that_need_them_are_off_or_refused(
    tmp_path: Path, features: Features
) -> None:
    plain = sealed(tmp_path / "plain.lmdb", Roles())
    same = Features.load(plain, features.path)  # the same samples: roles are in no digest
    found = evaluate(plain, same, RANKED)
    assert not found.scores.same_camera
    assert found.why_no_cameras == "no camera role"
    with pytest.raises(UsageError, match="need a store with that role"):
        evaluate(plain, same, RANKED, rules=SOCCERNET)


def test_samples_without_a_camera_turn_its_rule_off(tmp_path: Path) -> None:
    store = sealed(tmp_path / "some.lmdb", Roles(camera="cam"), cam=None)
    array = np.random.default_rng(0).standard_normal((COUNT, 4)).astype(np.float32)
    features = Features.save(store, "f", array, made_by={})
    found = evaluate(store, features, RANKED)
    assert found.why_no_cameras == "1 of 48 samples have no camera"
    assert not found.scores.same_camera
    data = StoreData(store, RANKED)  # validation ranks by the same
    data.setup()
    for rows in RANKED["query"], RANKED["gallery"]:
        assert data.entries(rows).cameras is None
    some = Split(parts=dict(RANKED.parts) | {"query": np.arange(4, 12)}, labels=[])
    whole = evaluate(store, features, some)
    assert whole.why_no_cameras is None and whole.scores.same_camera
    data = StoreData(store, some)
    data.setup()
    assert np.array_equal(data.entries(some["query"]).cameras, whole.query.cameras)  # type: ignore[arg-type]


def test_what_is_held_back_is_ranked_against_the_rest_where_nothing_else_is(
    store: Store, features: Features
) -> None:
    split = Split(parts={"train": np.arange(0, 30), "val": np.arange(30, 48)}, labels=range(8))
    found = evaluate(store, features, split)
    assert found.parts == ("val", "train")
    assert len(found.query_rows) == 18
    other = evaluate(store, features, split, parts=("train", "val"))
    assert (other.parts, len(other.query_rows)) == (("train", "val"), 30)


def test_an_open_set_is_tuned_on_every_second_sample_and_scored_on_the_rest(
    store: Store, features: Features
) -> None:
    labels = np.asarray(store.columns["label"])
    is_known = np.isin(labels, range(6))
    parts = {
        "train": np.flatnonzero(is_known)[:24],
        "val": np.flatnonzero(is_known)[24:],
        "unknown": np.flatnonzero(~is_known),
    }
    found = evaluate(store, features, Split(parts=parts, labels=range(6)))
    asked = np.concatenate([parts["val"], parts["unknown"]])
    distances = FeatureDistances(features.array[asked], features.array[parts["train"]])
    block = distances.block(np.arange(len(asked)))
    best, scores = labels[parts["train"]][block.argmin(1)], -block.min(1)
    halves: list[list[int]] = [[], []]
    for side in (np.isin(labels[asked], range(6)), ~np.isin(labels[asked], range(6))):
        listed = sorted(np.flatnonzero(side), key=lambda at: (labels[asked[at]], asked[at]))
        for place, at in enumerate(listed):
            halves[place % 2].append(at)
    tuned, scored = (
        Predictions(best=best[half], scores=scores[half], labels=labels[asked[half]])
        for half in halves
    )
    wanted = score_open_set(scored, range(6), threshold=tune_open_set(tuned, range(6)).threshold)
    assert found.open_set is not None
    for name in ("threshold", "macro_f1", "baks", "baus", "auc", "known", "unknown"):
        assert getattr(found.open_set, name) == pytest.approx(getattr(wanted, name)), name
    assert found.open_set.unknown == len(parts["unknown"]) // 2
    json.dumps(found.summary(), allow_nan=False)


def test_extremes_are_the_best_and_the_worst(store: Store, features: Features) -> None:
    found = evaluate(store, features, RANKED)
    best, worst = found.extremes(3, k=99)
    precision = found.scores.average_precision
    ordered = np.sort(precision[~np.isnan(precision)])
    assert [precision[one.query] for one in best] == ordered[::-1][:3].tolist()
    assert [precision[one.query] for one in worst] == ordered[:3].tolist()
    assert all(len(one.rows) <= 36 for one in [*best, *worst])


@pytest.mark.parametrize(
    ("split", "settings", "message"),
    [
        ({"query": [], "gallery": [1, 2]}, {}, "the part 'query' of the split must have samples"),
        ({"query": [1, 2], "gallery": []}, {}, "the part 'gallery' of the split must have samples"),
        ({"train": [1, 2]}, {}, "query and gallery, or val and train, to be ranked; it has train"),
        ({}, {}, "it has none"),
        ({"a": [0], "b": [1]}, {"parts": ("a", "c")}, "no part 'c' in the split; there are: a, b"),
        ({"query": [0], "gallery": [1, 2]}, {}, "must have right answers in the gallery, got none"),
        ({"query": [0], "gallery": [8, 16]}, {}, "wrong answers, got identity 0 only"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    store: Store, features: Features, split: Any, settings: Any, message: str
) -> None:
    dealt = Split(parts={name: np.array(rows, np.int64) for name, rows in split.items()}, labels=[])
    with pytest.raises(UsageError, match=message):
        evaluate(store, features, dealt, **settings)


def test_a_query_without_any_right_entry_is_left_out_and_counted(
    store: Store, features: Features
) -> None:
    labels = store.columns["label"]
    gallery = np.flatnonzero(np.isin(labels, [0, 1, 2]))[3:]
    found = evaluate(
        store, features, Split(parts={"query": np.arange(6), "gallery": gallery}, labels=[])
    )
    lacking = ~np.isin(labels[:6], labels[gallery])
    assert found.scores.left_out == lacking.sum() > 0


def test_a_row_without_features_is_named(store: Store) -> None:
    some = Features.save(
        store, "some", np.ones((24, 2), np.float32), made_by={}, rows=np.arange(24)
    )
    with pytest.raises(FeaturesError, match="24 of 36 samples have no features"):
        evaluate(store, some, RANKED)


def test_features_that_are_not_finite_are_named_by_rows_of_the_store(
    store: Store, tmp_path: Path
) -> None:
    array = np.ones((COUNT, 4), np.float32)
    array[[2, 40]] = np.nan
    np.save(tmp_path / "theirs.npy", array)
    theirs = Features.load(store, tmp_path / "theirs.npy")
    split = Split(parts={"query": np.arange(30, 45), "gallery": np.arange(20, 30)}, labels=[])
    with pytest.raises(UsageError, match=r"features must be finite.* in rows 40\."):
        evaluate(store, theirs, split)
