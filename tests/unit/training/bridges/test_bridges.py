"""Batches in other toolboxes' forms, and what their trainers ask of a dataset."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid import PKSampler, Store, StoreWriter, codec
from lmdb_reid.errors import UnknownArgumentError, UsageError
from lmdb_reid.schema import Kind, Roles
from training.bridges._parts import Loaders, People, Reading
from training.bridges.boxmot import BoxmotBatches, store_trainer
from training.bridges.torchreid import TorchreidData
from training.splits import Split, save_split

COUNT = 40
KINDS = {33: Kind.JUNK, 34: Kind.BACKGROUND, 35: Kind.DISTRACTOR}


def write(path: Path, roles: Roles) -> Path:
    """40 crops, 32x16: people 10, 20, 30 and 40; in the last ten also junk, background, a
    distractor, and somebody unknown.
    """
    with StoreWriter(path, roles=roles) as writer:
        for number in range(COUNT):
            kind = KINDS.get(number, Kind.PERSON)
            is_known = kind == Kind.PERSON and number != 36
            record = {
                "label": 10 * (1 + number % 4) if is_known else -1,
                "kind": int(kind),
                "cam": 5 + number % 3,
            }
            writer.put(
                f"{number:02d}", codec.encode(np.full((32, 16, 3), 6 * number, np.uint8)), record
            )
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(write(tmp_path_factory.mktemp("stores") / "a.lmdb", Roles(camera="cam")))


SPLIT = Split(
    parts={"train": np.arange(20), "query": np.arange(20, 28), "gallery": np.arange(28, 40)},
    labels=[10, 20, 40],
)


def test_a_batch_of_torchreid_s(store: Store) -> None:
    with TorchreidData(
        store, SPLIT, batch_size=4, test_batch_size=8, augment=None, num_workers=1
    ) as data:
        assert (data.num_train_pids, data.num_train_cams) == (3, 3)
        assert (data.height, data.width, data.sources) == (32, 16, ["store"])
        assert len(data.train_loader) == 3  # 15 of three people, a batch of three left out
        for batch in data.train_loader:
            rows = [store.row(name) for name in batch["impath"]]
            labels = store.columns["label"][rows]
            assert batch["pid"].tolist() == [{10: 0, 20: 1, 40: 2}[label] for label in labels]
            assert batch["camid"].tolist() == [row % 3 for row in rows]
            assert batch["img"].dtype == torch.float32
            assert batch["img"].is_contiguous()
            assert batch["dsetid"].tolist() == [0] * 4
        (query,) = data.test_loader["store"]["query"]
        assert query["pid"].tolist() == [10 * (1 + row % 4) for row in range(20, 28)]
        gallery = list(data.test_loader["store"]["gallery"])
        names = [name for batch in gallery for name in batch["impath"]]
        assert names == [f"{row:02d}" for row in range(28, 40) if row not in (33, 36)]
        pids = torch.cat([batch["pid"] for batch in gallery]).tolist()
        assert [pids[names.index(name)] for name in ("28", "34", "35")] == [10, -1, -1]
        with pytest.raises(UsageError, match="Use lmdb-reid rank --strips"):
            data.fetch_test_loaders("store")


@pytest.mark.filterwarnings("ignore:the loader has no batch")
def test_images_are_normalised_or_as_they_are(store: Store) -> None:
    for normalize, expected in (
        ("imagenet", (120 / 255 - 0.485) / 0.229),
        (((0.5,) * 3, (0.25,) * 3), (120 / 255 - 0.5) / 0.25),
        (None, 120),
    ):
        with TorchreidData(store, SPLIT, normalize=normalize, num_workers=1) as data:
            batch = next(iter(data.test_loader["store"]["query"]))["img"]
            assert batch.dtype == (torch.uint8 if normalize is None else torch.float32)
            assert float(batch[0, 0].float().mean()) == pytest.approx(expected, abs=0.02 * 120)


def test_the_order_is_the_sampler_s_and_another_one_in_each_epoch(store: Store) -> None:
    drawn: list[PKSampler] = []

    def sampler(samples: Any) -> PKSampler:
        drawn.append(PKSampler(samples, p=2, k=3, seed=1))
        return drawn[0]

    train = [row for row in range(20) if row % 4 != 2]
    with TorchreidData(store, SPLIT, sampler=sampler, augment=None, num_workers=1) as data:
        for epoch in range(2):
            names = [name for batch in data.train_loader for name in batch["impath"]]
            wanted = drawn[0].positions(epoch)
            assert names == [f"{train[position]:02d}" for position in wanted]


def test_without_cameras_the_rule_about_them_changes_nothing(tmp_path: Path) -> None:
    store = Store(write(tmp_path / "plain.lmdb", Roles()))
    people = People.of(store, SPLIT)
    assert not set(people.cameras[people.query]) & set(people.cameras[people.gallery])


@pytest.mark.filterwarnings("ignore:the loader has no batch")
def test_a_saved_split_does_as_well(store: Store, tmp_path: Path) -> None:
    save_split(tmp_path / "s.json", SPLIT, store.ids, store.columns["label"])
    with TorchreidData(str(store.path), tmp_path / "s.json", num_workers=1) as data:
        assert data.num_train_pids == 3


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": [0], "query": [20]}, "got none in gallery; its parts: train, query"),
        ({"train": [2], "query": [20], "gallery": [28]}, "got none in train"),
        ({"train": [0], "query": [36], "gallery": [28]}, "got none in query"),
        ({"train": [0], "query": [20], "gallery": [33, 36]}, "got none in gallery"),
    ],
)
def test_a_part_without_people_is_refused(store: Store, parts: Any, message: str) -> None:
    split = Split(parts={n: np.array(rows) for n, rows in parts.items()}, labels=[10, 20, 40])
    with pytest.raises(UsageError, match=message):
        TorchreidData(store, split)


def test_batches_of_boxmot_s_follow_the_epoch_that_the_trainer_names(store: Store) -> None:
    people = People.of(store, SPLIT)
    reading = Reading(batch_size=5, augment=None, num_workers=1)
    loaders = Loaders.of(people, reading)
    batches = BoxmotBatches(loaders.train, people)
    seen = []
    for epoch in (1, 2, 1):
        batches.sampler.set_epoch(epoch)
        seen.append([images.mean((1, 2, 3)).tolist() for images, _, _ in batches])
    assert seen[0] == seen[2] != seen[1]
    _, pids, cameras = next(iter(BoxmotBatches(loaders.query, people)))
    assert pids.tolist() == [10 * (1 + row % 4) for row in range(20, 28)]
    assert cameras.tolist() == [row % 3 for row in range(20, 28)]
    assert len(batches) == 3
    loaders.close()


def test_a_trainer_s_own_settings_hold_unless_others_are_given(store: Store) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.p, self.k, self.seed, self.batch_size = 3, 2, 7, 4
            self.img_size, self.device = (16, 8), torch.device("cpu")

        def _build_test_loaders(self, dataset: Any) -> tuple[str, str]:
            return "their", dataset

    made = store_trainer(Trainer, store, SPLIT, augment=None, num_workers=1)()
    assert isinstance(made, Trainer)
    train = made._build_train_loader(None)
    images, pids, _ = next(iter(train))
    assert tuple(images.shape) == (6, 3, 16, 8)
    assert sorted(np.bincount(pids)) == [2, 2, 2]
    assert made._build_test_loaders(SimpleNamespace()) == ("their", SimpleNamespace())
    made._store_loaders.close()


@pytest.mark.parametrize("name", ["batch_size", "test_batch_size"])
def test_a_batch_of_nothing_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="batch_size must be a whole number, at least 1, got 0"):
        TorchreidData(store, SPLIT, **{name: 0})


def test_arguments_that_are_none_are_refused(store: Store) -> None:
    with pytest.raises(UnknownArgumentError, match="Did you mean 'sampler'"):
        TorchreidData(store, SPLIT, smapler=5)
    with pytest.raises(UsageError, match="sampler must be a function"):
        TorchreidData(store, SPLIT, sampler=5)
    with pytest.raises(UsageError, match="must return a sampler, got None"):
        TorchreidData(store, SPLIT, sampler=lambda _: None)
