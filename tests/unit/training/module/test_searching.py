"""A module over data with query and gallery: mAP and CMC instead of macro F1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from lmdb_reid.codec import encode
from lmdb_reid.errors import DivergedError
from lmdb_reid.schema import Roles
from lmdb_reid.store import Store, StoreWriter
from training.data import Loading, StoreData
from training.module import PlayerReIDModule
from training.ranking import FeatureDistances, rank
from training.splits import Split, by_identity

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # Lightning 2.6 asks a question that torch 2.13 answers, and wants put differently.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
NORMALIZE = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def data_of(sealed: Path, rule: Any = by_identity) -> StoreData:
    return StoreData(sealed, rule, Loading(batch_size=16, num_workers=0, normalize=NORMALIZE))


def module() -> PlayerReIDModule:
    seed_everything(1)
    return PlayerReIDModule(embedding=16, width=8)


def trainer(folder: Path, **settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    given = {"accelerator": "cpu", "max_epochs": 1}
    return Trainer(logger=CSVLogger(folder, name=""), **quiet | given | settings)


def by_hand(model: PlayerReIDModule, data: StoreData, cameras: str | None) -> Any:
    """The same ranking from the loaders and columns themselves."""
    model.eval()
    sides = []
    loaders: Any = data.val_dataloader()
    for loader in loaders:
        with torch.no_grad():
            seen = [(model(batch.images), batch.rows) for batch in loader]
        sides.append([torch.cat(part) for part in zip(*seen, strict=True)])
    (query, query_rows), (gallery, gallery_rows) = sides
    with Store(data.samples.store.path) as store:  # type: ignore[attr-defined]
        entries = [_entries(store, rows.numpy(), cameras) for rows in (query_rows, gallery_rows)]
    return rank(FeatureDistances(query, gallery, metric="cosine"), *entries)


def _entries(store: Store, rows: Any, camera: str | None) -> Any:
    from training.ranking import Entries

    columns = store.columns
    cameras = None if camera is None else columns[camera][rows]
    return Entries(labels=columns["label"][rows], cameras=cameras, kinds=columns["kind"][rows])


def test_a_validation_ranks_the_gallery_for_the_queries(sealed: Path, tmp_path: Path) -> None:
    data, model = data_of(sealed), module()
    run = trainer(tmp_path)  # the first look at two batches ranks nothing
    run.fit(model, datamodule=data)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    names = {"val_mAP", "val_mINP", "val_cmc1", "val_cmc5", "val_cmc10"}
    assert found.keys() == names | {"train_loss"}
    wanted = by_hand(model, data, "angle")
    assert found["val_mAP"] == pytest.approx(wanted.mAP, abs=1e-6)
    assert found["val_cmc5"] == pytest.approx(wanted.cmc[5], abs=1e-6)
    assert model.ranking is not None and model.ranking.same_camera
    assert (model.ranking.queries, model.ranking.gallery) == (wanted.queries, wanted.gallery)
    saved = torch.load(run.checkpoint_callback.best_model_path, weights_only=True)  # type: ignore[union-attr]
    assert saved["ranking"]["mAP"] == pytest.approx(found["val_mAP"], abs=1e-6)
    tested, _ = run.test(model, datamodule=data, verbose=False)
    assert tested["test_mAP"] == pytest.approx(found["val_mAP"], abs=1e-6)
    assert len(run.predict(model, datamodule=data)) == 2  # type: ignore[arg-type]


def test_an_embedding_that_is_no_number_ends_a_validation_with_its_rows(
    sealed: Path, tmp_path: Path
) -> None:
    data, model = data_of(sealed), module()
    run = trainer(tmp_path)
    run.fit(model, datamodule=data)
    model.backbone.project.weight.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"embedding of row \d+ and \d+ more") as caught:
        run.validate(model, datamodule=data, verbose=False)
    assert caught.value.rows == tuple(sorted({*caught.value.rows}))
    assert str(caught.value).endswith("the training has diverged. Lower the learning rate (lr)")


def test_distractors_in_the_gallery_are_wrong_answers(tmp_path: Path) -> None:
    """The gallery holds for each query its own identity, and a distractor with its very picture."""
    path = tmp_path / "s.lmdb"
    with StoreWriter(path, roles=Roles(camera="camera")) as writer:
        for label in range(8):
            for camera in range(2):
                _put(writer, f"{label}_{camera}", 10 * label + camera, label, camera)
        for label in range(4, 8):
            _put(writer, f"{label}_x", 10 * label, -1, 1, kind=4)
        writer.seal()
    with Store(path) as store:
        query = [store.row(f"{label}_0") for label in range(4, 8)]
        gallery = [store.row(f"{label}_{n}") for label in range(4, 8) for n in ("1", "x")]
        train = [store.row(f"{label}_{n}") for label in range(4) for n in "01"]
    split = Split(
        parts={
            name: np.array(rows)
            for name, rows in (("train", train), ("query", query), ("gallery", gallery))
        },
        labels=[0, 1, 2, 3],
    )
    model = module()
    with pytest.warns(UserWarning, match="show the same picture"):
        trainer(tmp_path, num_sanity_val_steps=0).fit(model, datamodule=data_of(path, split))
    assert model.ranking is not None
    assert (model.ranking.queries, model.ranking.gallery) == (4, 8)
    assert model.ranking.cmc[1] == 0.0, "the distractor is nearer than anybody"


def _put(writer: StoreWriter, name: str, seed: int, label: int, camera: int, kind: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 32, 3), np.uint8)
    writer.put(name, encode(pixels), {"label": label, "camera": camera, "kind": kind})


def test_without_cameras_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "s.lmdb"
    with StoreWriter(path) as writer:
        for label in range(6):
            for number in range(3):
                pixels = np.random.default_rng(label).integers(0, 255, (64, 32, 3), np.uint8)
                pixels[:9] = 40 * number
                writer.put(f"{label}_{number}", encode(pixels), {"label": label})
        writer.seal()
    data, model = data_of(path), module()
    run = trainer(tmp_path)
    run.fit(model, datamodule=data)
    assert model.ranking is not None
    assert not model.ranking.same_camera and "no cameras" in str(model.ranking)
    assert model.ranking.mAP == pytest.approx(by_hand(model, data, None).mAP, abs=1e-6)


def test_a_trial_run_ranks_nothing_and_ends_well(sealed: Path, tmp_path: Path) -> None:
    model = module()
    run = trainer(tmp_path, fast_dev_run=True)
    run.fit(model, datamodule=data_of(sealed))
    assert model.ranking is None and "val_mAP" not in run.callback_metrics
