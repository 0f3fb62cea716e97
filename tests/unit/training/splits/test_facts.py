"""What a store knows of itself for rules and leaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.errors import CorruptSampleError, UnknownColumnError, UsageError, WriteError
from lmdb_reid.schema import Kind, Roles
from lmdb_reid.store import Store
from training.splits import (
    Split,
    by_group,
    by_identity,
    facts_of,
    find_leaks,
    given,
    hashes_file,
    make_hashes,
    open_set,
    save_split,
    stored_hashes,
    stratified,
    twice_in_a_frame,
)

Seal = Callable[..., Path]
ROLES = Roles(camera="angle", group=("game", "half"), track="track", split="subset")


def records(count: int = 24) -> dict[str, dict[str, Any]]:
    return {
        f"f{number:02d}#000": {
            "label": number % 4,
            "angle": ["side", "top"][number // 4 % 2],
            "game": ["a", "b", "c"][number // 8],
            "half": number // 4 % 2,
            "track": number // 8,
            "subset": ["train", "gallery"][number % 4 // 2],
        }
        for number in range(count)
    }


def ids_of(store: Store, split: Split) -> dict[str, set[str]]:
    return {name: {store.ids[row] for row in rows} for name, rows in split.parts.items()}


# rules of a store


def test_rules_take_a_store_and_its_roles(seal: Seal) -> None:
    path = seal(records(), roles=ROLES)
    with Store(path) as store:
        labels, angles = store.columns["label"], store.columns["angle"]
        searched = by_identity(store)
        assert len(searched["query"]) == 2 * 2, "one of each identity and camera"
        assert len({(labels[row], angles[row]) for row in searched["query"].tolist()}) == 4
        grouped = by_group(store, n_folds=6)
        pairs = {(store.columns["game"][row], store.columns["half"][row]) for row in grouped["val"]}
        assert len(pairs) == 1 and len(grouped["val"]) == 4
        source = given(store)
        assert set(source.parts) == {"train", "gallery"} and source.labels == [0, 1]
        assert len(open_set(store, n_folds=2, unknown_per_fold=1)["unknown"]) == 6
        assert ids_of(store, stratified(path)) == ids_of(store, stratified(store))


def test_arguments_come_before_roles(seal: Seal) -> None:
    with Store(seal(records(), roles=ROLES)) as store:
        assert len(by_group(store, group="game", n_folds=3)["val"]) == 8
        with pytest.raises(UsageError, match="2 to 3, the number of groups; got 5"):
            by_group(store, group="game")
        assert len(by_identity(store, camera="half", queries=2)["query"]) == 8
        assert set(given(store, column="game", names={"a": "train"}).parts) == {"train", "b", "c"}
        with pytest.raises(UnknownColumnError, match="no column 'nosuch' to split by"):
            by_identity(store, camera="nosuch")


def test_roles_that_are_missing(seal: Seal) -> None:
    with Store(seal({f"f{n}#0": {"label": n % 4, "match": n} for n in range(12)})) as store:
        wanted = r"no column has that role. Pass one with group= \(--group\): label,.*match"
        with pytest.raises(UsageError, match=wanted):
            by_group(store)
        with pytest.raises(UnknownColumnError, match="no column 'split' to split by"):
            given(store)
        assert len(by_identity(store)["query"]) == 2, "without cameras, one of each identity"


def test_one_group_and_one_identity_cannot_be_split(seal: Seal) -> None:
    same = {f"f{n}#0": {"label": 3, "match": "a"} for n in range(4)}
    with Store(seal(same, roles=Roles(group=("match",)))) as store:
        with pytest.raises(UsageError, match="two groups or more; got 1"):
            by_group(store)
        with pytest.raises(UsageError, match="two identities or more; got 1"):
            by_identity(store)
        with pytest.raises(UsageError, match="5 folds of 2 unknown labels need 10"):
            open_set(store)


def test_junk_is_in_no_part_and_distractors_are_in_the_gallery(seal: Seal) -> None:
    kinds = {"junk": Kind.JUNK, "distractor": Kind.DISTRACTOR, "negative": Kind.BACKGROUND}
    more = {name: {"label": -1, "kind": int(kind)} for name, kind in kinds.items()}
    people = {f"p{n}": {"label": n % 3} for n in range(9)}
    with Store(seal(people | more)) as store:
        parts = ids_of(store, by_identity(store))
    assert {"distractor", "negative"} <= parts["gallery"]
    assert not any("junk" in part for part in parts.values())


def test_a_source_that_names_no_train_part_says_what_it_names(seal: Seal) -> None:
    rows = {f"p{n}": {"label": n, "split": ["query", "gallery"][n % 2]} for n in range(4)}
    with Store(seal(rows, roles=Roles(split="split"))) as store:
        with pytest.raises(UsageError, match=r"it names\s+gallery, query: say with names="):
            given(store)
        with pytest.raises(UsageError, match=r"names must be of values .*, got 'trian'; it has"):
            given(store, names={"trian": "train"})


def test_what_is_trained_on_has_a_label(seal: Seal) -> None:
    rows = {f"p{n}": {"label": n - 1, "split": "train"} for n in range(3)}
    with Store(seal(rows)) as store:
        split = given(store)
    assert split["train"].tolist() == [1, 2] and split.labels == [0, 1]


# facts


def test_facts_are_read_by_role(seal: Seal) -> None:
    with Store(seal(records(), roles=ROLES)) as store:
        facts = facts_of(store)
        assert facts.kinds == ("identities", "groups", "tracks", "copies")
        assert facts.has_cameras and facts.groups is not None and facts.tracks is not None
        assert len(np.unique(facts.groups)) == 6
        assert len(np.unique(facts.tracks)) == 6, "a track has one game, half and camera"
        split = Split(parts={"train": [0], "gallery": [1, 4]}, labels=[0])
        kinds = [leak.kind for leak in find_leaks(split, facts).found()]
    assert kinds == ["identities", "groups", "tracks"]


def test_a_store_without_roles_knows_identities_and_copies(seal: Seal) -> None:
    with Store(seal({f"f{n}": {"label": n} for n in range(4)}, pictures=[1, 2, 1, 3])) as store:
        facts = facts_of(store)
        assert facts.kinds == ("identities", "copies") and not facts.has_cameras
        (leak,) = find_leaks(
            Split(parts={"train": [0, 1], "val": [2, 3]}, labels=[]), facts
        ).found()
    assert (leak.kind, leak.examples) == ("copies", ((0, 2),))


def test_samples_without_a_group_are_of_none(seal: Seal) -> None:
    rows = {f"f{n}": {"label": n} | ({"game": "a"} if n else {}) for n in range(3)}
    with Store(seal(rows, roles=Roles(group=("game",)))) as store:
        facts = facts_of(store)
        assert facts.groups is not None and facts.groups.tolist() == [-1, 1, 1]


# what stands twice


def box(label: int, x: float) -> dict[str, Any]:
    return {"label": label, "x": x, "y": 1.0, "w": 5.0, "h": 9.0}


def test_people_and_rows_twice_in_a_frame(seal: Seal) -> None:
    rows = {
        "a#000": box(1, 10),
        "a#001": box(2, 20),
        "a#002": box(1, 30),  # person 1 a second time
        "b#000": box(1, 10),
        "b#001": box(1, 10),  # the same row
        "c#000": box(3, 10),
        "c#001": box(3, 10),
        "c#002": box(3, 40),  # both
        "d#000": box(-1, 1),
        "d#001": box(-1, 1),  # nobody knows who
    }
    with Store(seal(rows)) as store:
        found = twice_in_a_frame(store, np.arange(len(store)))
        assert found.people == [[0, 2], [5, 6, 7]]
        assert found.rows == [[3, 4], [5, 6]]
        part = twice_in_a_frame(store, np.array([0, 3, 7, 2]))
    assert part.people == [[0, 2]] and part.rows == []


def test_crops_that_name_no_frame_are_not_looked_at(seal: Seal) -> None:
    with Store(seal({f"train/0001_c1_{n}": {"label": 1} for n in range(3)})) as store:
        assert twice_in_a_frame(store, np.arange(3)) == ([], [])


# hashes


def test_hashes_are_made_once_and_kept_beside_the_store(seal: Seal) -> None:
    path = seal({f"f{n}": {"label": n} for n in range(5)}, pictures=[1, 2, 3, 1, 4])
    with Store(path) as store:
        assert stored_hashes(store) is None
        calls: list[tuple[int, int, int]] = []
        made = make_hashes(store, progress=lambda *call: calls.append(call))
        assert calls[-1] == (5, 5, 0)
        assert (made.dtype, made[0]) == (np.dtype(np.int64), made[3]) and len(set(made)) == 4
        assert hashes_file(store).parent == path.with_name("s.lmdb.phash")
        kept = stored_hashes(store)
        assert kept is not None and np.array_equal(kept, made)
        assert "near" in facts_of(store, kept).kinds
    assert {file.name for file in path.iterdir()} == {"columns", "data.mdb", "manifest.json"}


def test_hashes_of_another_store_or_cut_ones_are_not_taken(seal: Seal) -> None:
    one = seal({f"f{n}": {"label": n} for n in range(5)})
    with Store(one) as store:
        make_hashes(store)
        data = hashes_file(store).read_bytes()
        for damaged in (data[:-1], bytes([data[0] ^ 1]) + data[1:], b""):
            hashes_file(store).write_bytes(damaged)
            assert stored_hashes(store) is None
    other = seal({f"g{n}": {"label": n} for n in range(5)}, name="other.lmdb")
    with Store(other) as store:
        assert stored_hashes(store) is None


def test_a_pipe_in_the_place_of_hashes_is_not_waited_for(seal: Seal) -> None:
    with Store(seal({f"f{n}": {"label": n} for n in range(5)})) as store:
        hashes_file(store).parent.mkdir()
        os.mkfifo(hashes_file(store))
        assert stored_hashes(store) is None
        made, kept = make_hashes(store), stored_hashes(store)
    assert kept is not None and np.array_equal(kept, made)  # the file took the pipe's place


def test_a_damaged_picture_is_named(seal: Seal) -> None:
    path = seal({"only": {"label": 0}})
    data = (path / "data.mdb").read_bytes()
    with Store(path) as store:
        jpeg = store["only"].jpeg
    at = data.index(jpeg[40:80])
    (path / "data.mdb").write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    with Store(path) as store, pytest.raises(CorruptSampleError, match="only"):
        make_hashes(store)


def test_a_place_that_takes_no_file_is_named(seal: Seal) -> None:
    path = seal({"only": {"label": 0}})
    path.with_name("s.lmdb.phash").write_text("a file")
    with (
        Store(path) as store,
        pytest.raises(WriteError, match=r"s\.lmdb\.phash.* cannot be written"),
    ):
        make_hashes(store)


def test_a_split_of_a_store_is_saved_by_its_ids(seal: Seal, tmp_path: Path) -> None:
    with Store(seal(records(), roles=ROLES)) as store:
        split = by_identity(store)
        save_split(tmp_path / "split.json", split, store.ids, store.columns["label"])
    assert '"parts": {"train": ["f' in (tmp_path / "split.json").read_text()
