from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Kind
from training.ranking import (
    CUHK03,
    MARKET1501,
    SOCCERNET,
    Entries,
    FeatureDistances,
    RankScores,
    Rules,
    SingleShot,
    rank,
)

RANKS = (1, 2, 3)


def listed(
    distances: Any, query: Entries, gallery: Entries, rules: Rules, row: int
) -> list[tuple[float, bool, int]]:
    """A query's list, entry by entry: distance, whether it is right, row of the gallery."""
    sides: Any = (query, gallery)
    who = sides[0].labels[row]
    if sides[0].kinds is not None and sides[0].kinds[row] != Kind.PERSON:
        return []
    entries = []
    for entry, distance in enumerate(distances[row].tolist()):
        kind = Kind.PERSON if sides[1].kinds is None else sides[1].kinds[entry]
        label = sides[1].labels[entry]
        if kind in rules.ignored or (kind == Kind.PERSON and label < 0):
            continue
        is_right = kind == Kind.PERSON and label == who and who >= 0
        has_rule = rules.same_camera and sides[0].cameras is not None
        if has_rule and is_right and sides[0].cameras[row] == sides[1].cameras[entry]:
            continue
        if rules.within_group and sides[0].groups[row] != sides[1].groups[entry]:
            continue
        entries.append((distance, is_right, entry))
    return sorted(entries)  # of equal distances False, the wrong ones, come first


def hits(entries: list[tuple[float, bool, int]], gallery: Entries, rules: Rules, k: int) -> float:
    """Whether the first k have a right one; of single shot, in which share of the draws."""
    shot, labels = rules.single_shot, np.asarray(gallery.labels)
    if shot is None:
        return float(any(is_right for _, is_right, _ in entries[:k]))
    found = 0
    for repeat in range(shot.repeats):
        numbers = np.random.default_rng([shot.seed, repeat]).random(len(labels))
        kept = []
        for entry in entries:
            is_person = gallery.kinds is None or np.asarray(gallery.kinds)[entry[2]] == Kind.PERSON
            alike = [other for other in entries if labels[other[2]] == labels[entry[2]]]
            if gallery.kinds is not None:
                alike = [o for o in alike if np.asarray(gallery.kinds)[o[2]] == Kind.PERSON]
            if not is_person or entry[2] == min(alike, key=lambda o: numbers[o[2]])[2]:
                kept.append(entry)
        found += any(is_right for _, is_right, _ in kept[:k])
    return found / shot.repeats


def expected(distances: Any, query: Entries, gallery: Entries, rules: Rules) -> dict[str, Any]:
    """The same scores, obviously."""
    precisions, penalties, cmc, firsts = [], [], [], []
    for row in range(len(distances)):
        entries = listed(distances, query, gallery, rules, row)
        places = [place for place, entry in enumerate(entries, 1) if entry[1]]
        firsts.append(places[0] if places else 0)
        if not places:
            continue
        precisions.append(sum(n / place for n, place in enumerate(places, 1)) / len(places))
        penalties.append(len(places) / places[-1])
        cmc.append([hits(entries, gallery, rules, k) for k in RANKS])
    return {
        "queries": len(precisions),
        "left_out": len(distances) - len(precisions),
        "mAP": np.mean(precisions) if precisions else None,
        "mINP": np.mean(penalties) if precisions else None,
        "cmc": np.mean(cmc, axis=0) if precisions else None,
        "first": firsts,
    }


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Any, Entries, Entries]:
    """Small cases with many ties, and with some of cameras, groups and kinds."""
    counts = draw(st.tuples(st.integers(1, 6), st.integers(4, 14)))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    levels = draw(st.sampled_from([1, 3, 1000]))
    distances = (random.integers(0, levels, counts) / 8).astype(np.float32)
    has_cameras, has_kinds = draw(st.booleans()), draw(st.booleans())
    cameras = draw(st.integers(1, 3))
    people = draw(st.integers(1, 4))
    sides = [
        Entries(
            labels=random.integers(-1, people, count),
            cameras=random.integers(0, cameras, count) if has_cameras else None,
            groups=random.integers(0, 2, count),
            kinds=random.choice([0, 0, 0, 0, 1, 2, 3, 4], count) if has_kinds else None,
        )
        for count in counts
    ]
    return distances, sides[0], sides[1]


@settings(deadline=None, derandomize=True)
@given(
    rankings(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, SingleShot(repeats=3, seed=5)]),
    st.sampled_from([frozenset(), frozenset({Kind.JUNK, Kind.PARTIAL})]),
)
def test_scores_equal_those_of_a_list_that_is_walked_through(
    ranking: tuple[Any, Entries, Entries],
    same_camera: bool,
    within_group: bool,
    single_shot: SingleShot | None,
    ignored: frozenset[Kind],
) -> None:
    distances, query, gallery = ranking
    rules = Rules(
        same_camera=same_camera,
        within_group=within_group,
        single_shot=single_shot,
        ignored=ignored,
    )
    wanted = expected(distances, query, gallery, rules)
    try:
        scores = rank(distances, query, gallery, rules=rules, ranks=RANKS)
    except UsageError as error:
        refusals = ("no query", "right answers", "wrong answers", "known identity", "ranks must be")
        assert any(words in str(error) for words in refusals)
        assert wanted["queries"] == 0 or "right answers" not in str(error)
        return
    assert (scores.queries, scores.left_out) == (wanted["queries"], wanted["left_out"])
    assert scores.mAP == pytest.approx(wanted["mAP"], abs=1e-6)
    assert scores.mINP == pytest.approx(wanted["mINP"], abs=1e-6)
    assert [scores.cmc[k] for k in RANKS] == pytest.approx(wanted["cmc"], abs=1e-6)
    assert scores.first_place.tolist() == wanted["first"]
    assert scores.same_camera == (same_camera and query.cameras is not None)


@settings(deadline=None, derandomize=True)
@given(rankings(), st.integers(0, 99))
def test_the_order_of_the_gallery_changes_no_score(
    ranking: tuple[Any, Entries, Entries], seed: int
) -> None:
    distances, query, gallery = ranking
    order = np.random.default_rng(seed).permutation(distances.shape[1])

    def permuted(values: Any) -> Any:
        return None if values is None else values[order]

    other = Entries(
        labels=permuted(gallery.labels),
        cameras=permuted(gallery.cameras),
        kinds=permuted(gallery.kinds),
        groups=permuted(gallery.groups),
    )
    try:
        scores = rank(distances, query, gallery, ranks=(1,))
    except UsageError:
        return
    assert rank(distances[:, order], query, other, ranks=(1,)).summary() == scores.summary()


@settings(deadline=None, derandomize=True)
@given(rankings(), st.integers(0, 99))
def test_ties_give_the_lowest_scores_of_any_order(
    ranking: tuple[Any, Entries, Entries], seed: int
) -> None:
    distances, query, gallery = ranking
    broken = distances + np.random.default_rng(seed).random(distances.shape) / 100
    try:
        scores = rank(distances, query, gallery, ranks=(1,))
        other = rank(broken, query, gallery, ranks=(1,))
    except UsageError:
        return
    assert scores.mAP <= other.mAP + 1e-9
    assert scores.mINP <= other.mINP + 1e-9
    assert scores.cmc[1] <= other.cmc[1]
    if not scores.tied:
        assert scores.mAP == pytest.approx(other.mAP)


def test_a_model_that_sees_no_difference_scores_the_lowest() -> None:
    query, gallery = Entries(labels=np.array([0])), Entries(labels=np.array([0, 1, 2, 0, 3]))
    scores = rank(FeatureDistances(np.ones((1, 3)), np.ones((5, 3))), query, gallery, ranks=(1, 4))
    assert scores.first_place.tolist() == [4]
    assert scores.mAP == pytest.approx((1 / 4 + 2 / 5) / 2)
    assert scores.cmc == {1: 0.0, 4: 1.0}
    assert scores.tied == 1


# Of torchreid (github.com/KaiyangZhou/deep-person-reid, commit f8cd150f, metrics/rank.py,
# eval_market1501) and of BoxMOT 25.0.0 (reid/training/evaluator.py, evaluate_ranking), which agree
# but for float32; mINP of the authors' code (github.com/mangye16/ReID-Survey, commit 38f59126,
# data/datasets/eval_reid.py). All were run on `case` with numpy 2.4.6.
PUBLISHED = {
    "euclidean": ({1: 6 / 11, 5: 10 / 11, 10: 1.0}, 0.554559914026295),
    "cosine": ({1: 7 / 11, 5: 1.0, 10: 1.0}, 0.5577992439909276),
}
PUBLISHED_MINP = 0.3713450012303822


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scores_equal_those_of_torchreid_and_boxmot(case: Any, metric: Any) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features, metric=metric)
    scores = rank(distances, case.query, case.gallery)
    cmc, mean_precision = PUBLISHED[metric]
    assert scores.cmc == pytest.approx(cmc, abs=1e-6)
    assert scores.mAP == pytest.approx(mean_precision, abs=1e-6)
    assert (scores.queries, scores.left_out, scores.tied) == (11, 1, 0)
    assert np.flatnonzero(np.isnan(scores.average_precision)).tolist() == [11]


def test_minp_equals_that_of_its_authors(case: Any) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    assert rank(distances, case.query, case.gallery).mINP == pytest.approx(PUBLISHED_MINP, abs=1e-6)


def test_scores_within_actions_equal_those_of_sn_reid(case: Any) -> None:
    # github.com/SoccerNet/sn-reid, commit 621e2b0f, metrics/rank.py, eval_soccernetv3
    distances = FeatureDistances(case.query_features, case.gallery_features)
    scores = rank(distances, case.query, case.gallery, rules=SOCCERNET)
    assert scores.cmc == pytest.approx({1: 5 / 11, 5: 1.0, 10: 1.0}, abs=1e-6)
    assert scores.mAP == pytest.approx(0.6575757575757575, abs=1e-6)
    assert not scores.same_camera


def test_single_shot_comes_near_the_mean_of_torchreid_s_draws(case: Any) -> None:
    # eval_cuhk03 of the torchreid above, the mean of 400 calls of 10 draws each
    published = [0.57477254, 0.85236377, 0.9553647, 0.98711115, 0.99599886]
    rules = Rules(single_shot=SingleShot(repeats=2000))
    distances = FeatureDistances(case.query_features, case.gallery_features)
    scores = rank(distances, case.query, case.gallery, rules=rules, ranks=range(1, 6))
    assert list(scores.cmc.values()) == pytest.approx(published, abs=0.015)
    assert scores.mAP == pytest.approx(PUBLISHED["euclidean"][1], abs=1e-6)


def test_single_shot_is_the_same_for_one_seed_and_whatever_the_blocks(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    scores = rank(distances, case.query, case.gallery, rules=CUHK03, ranks=(1, 2))
    monkeypatch.setattr("training.ranking.distances.BLOCK_BYTES", 4 * 60 * 5)
    again = rank(distances, case.query, case.gallery, rules=CUHK03, ranks=(1, 2))
    assert again.summary() == scores.summary()
    other = Rules(single_shot=SingleShot(seed=1))
    assert rank(distances, case.query, case.gallery, rules=other, ranks=(1, 2)).cmc != scores.cmc


def test_without_cameras_their_rule_is_off_and_the_result_says_so(case: Any) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    query, gallery = (
        dataclasses.replace(side, cameras=None) for side in (case.query, case.gallery)
    )
    scores = rank(distances, query, gallery)
    assert not scores.same_camera
    assert "no cameras" in str(scores)
    assert "no cameras" not in str(rank(distances, query, gallery, rules=SOCCERNET))
    off = rank(distances, case.query, case.gallery, rules=Rules(same_camera=False))
    assert off.summary() == scores.summary()


def test_junk_is_ignored_and_distractors_are_wrong_answers() -> None:
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    query = Entries(labels=np.array([7]))
    gallery = Entries(
        labels=np.array([7, 7, -1, 0, 7]),
        kinds=np.array([Kind.JUNK, Kind.PARTIAL, Kind.PERSON, Kind.DISTRACTOR, Kind.PERSON]),
    )
    scores = rank(distances, query, gallery, ranks=(1, 2))
    assert scores.first_place.tolist() == [2]
    assert scores.gallery == 2


def test_a_query_that_is_nobody_known_is_left_out() -> None:
    distances = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    query = Entries(labels=np.array([-1, 0, 0]), kinds=np.array([0, 0, Kind.BACKGROUND]))
    gallery = Entries(labels=np.array([0, 1]))
    scores = rank(distances, query, gallery, ranks=(1,))
    assert (scores.queries, scores.left_out) == (1, 2)
    assert scores.first_place.tolist() == [0, 1, 0]


def test_blocks_change_nothing(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    whole = rank(distances, case.query, case.gallery)
    monkeypatch.setattr("training.ranking.distances.BLOCK_BYTES", 1)
    single = rank(distances, case.query, case.gallery)
    assert single.summary() == whole.summary()
    assert np.array_equal(single.average_precision, whole.average_precision, equal_nan=True)


def refused(query: dict[str, Any], gallery: dict[str, Any], **settings: Any) -> RankScores:
    matrix = settings.pop("matrix", np.arange(6.0).reshape(2, 3))
    rows: dict[str, Any] = {"labels": np.array([0, 1])}
    entries: dict[str, Any] = {"labels": np.array([0, 1, 2])}
    return rank(
        matrix, Entries(**rows | query), Entries(**entries | gallery), **{"ranks": (1,)} | settings
    )


@pytest.mark.parametrize(
    ("query", "gallery", "settings", "message"),
    [
        ({"labels": np.array([0])}, {}, {}, r"query labels must be 2, .* got \(1,\)"),
        ({}, {"labels": np.array([0, 1])}, {}, r"gallery labels must be 3"),
        ({}, {"labels": np.array([0.5, 1, 2])}, {}, "gallery labels must be integers"),
        ({}, {"cameras": np.array([0, 1])}, {}, "gallery cameras must be 3"),
        (
            {},
            {"cameras": np.array([0, 1, 0])},
            {},
            "cameras must be passed for queries and gallery",
        ),
        ({}, {}, {"rules": SOCCERNET}, "groups must be passed"),
        ({}, {}, {"ranks": (1, 4)}, r"ranks must be 1 to 3, .* got \(1, 4\)"),
        ({}, {}, {"ranks": (0,)}, "ranks must be 1 to 3"),
        ({}, {}, {"ranks": ()}, "ranks must be 1 to 3"),
        ({}, {"labels": np.array([1, 1, 1])}, {}, "wrong answers, got identity 1 only"),
        ({}, {"labels": np.array([-1, -1, -1])}, {}, "people of known identity"),
        ({"labels": np.array([5, 6])}, {}, {}, "must have right answers in the gallery, got none"),
        ({}, {}, {"matrix": np.array([[1, 2, 3], [1, np.nan, 3]])}, "NaN or infinity in rows 1"),
        ({}, {}, {"matrix": np.ones((2, 0))}, r"at least one of each, got \(2, 0\)"),
        ({}, {}, {"matrix": np.ones((0, 3))}, r"at least one of each, got \(0, 3\)"),
        ({}, {}, {"matrix": np.ones((2, 3), int)}, "must be of floats"),
        ({}, {}, {"rules": Rules(single_shot=SingleShot(repeats=0))}, "repeats must be 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    query: dict[str, Any], gallery: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        refused(query, gallery, **settings)


def test_scores_print_and_go_into_json(case: Any) -> None:
    distances = FeatureDistances(case.query_features, case.gallery_features)
    scores = rank(distances, case.query, case.gallery, rules=MARKET1501)
    assert str(scores) == (
        "mAP 55.46%, mINP 37.13%, CMC-1 54.55%, CMC-5 90.91%, CMC-10 100.00%"
        " (11 queries, 1 left out)"
    )
    assert scores.summary()["cmc"]["1"] == pytest.approx(6 / 11)
