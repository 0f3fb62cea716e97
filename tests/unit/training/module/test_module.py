from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lmdb_reid.errors import DivergedError, UsageError
from lmdb_reid.loaders import Batch
from lmdb_reid.store import Store
from training.data import SPLIT_CSV, Loading, StoreData
from training.module import PlayerReIDModule, PlayerReIDModulePL
from training.splits import load_split, open_set, stratified

NORMALIZE = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # Lightning 2.6 asks a question that torch 2.13 answers, and wants put differently.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
]


class Seen(Callback):
    """The rows of every training batch, by epoch, and of every validation."""

    def __init__(self) -> None:
        self.train: dict[int, list[list[int]]] = {}
        self.val: list[list[int]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.train.setdefault(trainer.current_epoch, []).append(batch.rows.tolist())

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.val.append([])

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.val[-1] += batch.rows.tolist()


def fold(store: Path, *, fold_idx: int = 0, num_workers: int = 1, rule: Any = None) -> StoreData:
    return StoreData(
        store,
        rule or functools.partial(open_set, fold=fold_idx),
        Loading(batch_size=16, num_workers=num_workers, normalize=NORMALIZE),
    )


def small() -> PlayerReIDModule:
    seed_everything(1)
    return PlayerReIDModule(embedding=16, width=8)


def trainer(folder: Path, *callbacks: Callback, epochs: int = 1, **settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    given = {"accelerator": "cpu", "max_epochs": epochs, "num_sanity_val_steps": 0}
    logger = CSVLogger(folder, name="")  # in version_0, version_1, ...
    return Trainer(logger=logger, callbacks=list(callbacks), **quiet | given | settings)


def every_step(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)


# -- one run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(sealed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer]:
    """One epoch, warnings and all; its folder and its trainer."""
    folder = tmp_path_factory.mktemp("run")
    run = trainer(folder, ModelCheckpoint(folder / "kept", filename="last"), num_sanity_val_steps=2)
    run.fit(small(), datamodule=fold(sealed))
    return folder, run


def test_a_run_logs_its_loss_and_score(trained: tuple[Path, Trainer]) -> None:
    folder, run = trained
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    assert found.keys() == {"train_loss", "val_f1", "val_threshold"}
    assert found["train_loss"] > 0
    assert 0 < found["val_f1"] < 1
    assert -2 <= found["val_threshold"] <= 1
    header = (folder / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert header == "epoch,step,train_loss,val_f1,val_threshold"


def test_a_run_keeps_its_fold_where_it_can_be_loaded(
    trained: tuple[Path, Trainer], sealed: Path
) -> None:
    folder, run = trained
    data: Any = run.datamodule  # type: ignore[attr-defined]  # Lightning sets it
    with Store(sealed) as store:
        again = load_split(folder / "version_0" / SPLIT_CSV, store.ids)
    assert np.array_equal(again["train"], data.split["train"])
    assert np.array_equal(again["unknown"], data.split["unknown"])


def test_a_checkpoint_knows_its_classes_and_threshold(
    trained: tuple[Path, Trainer], sealed: Path
) -> None:
    folder, run = trained
    module = PlayerReIDModule.load_from_checkpoint(folder / "kept" / "last.ckpt")
    assert module.classes.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert float(module.threshold) == pytest.approx(float(run.callback_metrics["val_threshold"]))
    data = fold(sealed)
    data.setup()
    module.eval()
    with torch.no_grad():
        batch = next(iter(data.val_dataloader()))
        module.threshold.fill_(-2.0)
        open_to_all = module.predict_step(batch, 0)
        module.threshold.copy_(open_to_all.scores.median())
        predicted = module.predict_step(batch, 0)
    assert torch.equal(predicted.rows, batch.rows)
    rejected = predicted.scores < module.threshold
    assert 0 < int(rejected.sum()) < len(rejected)
    assert set(predicted.labels[rejected].tolist()) == {-1}
    assert torch.equal(predicted.labels[~rejected], open_to_all.labels[~rejected])
    assert set(open_to_all.labels.tolist()) <= set(module.classes.tolist())


def test_a_model_of_one_fold_refuses_another(
    trained: tuple[Path, Trainer], sealed: Path, tmp_path: Path
) -> None:
    module = PlayerReIDModule.load_from_checkpoint(trained[0] / "kept" / "last.ckpt")
    other = fold(sealed, fold_idx=1)
    with pytest.raises(UsageError, match="fold that the model was trained on"):
        trainer(tmp_path).validate(module, datamodule=other, verbose=False)
    with pytest.raises(UsageError, match="fold that the model was trained on"):
        trainer(tmp_path).fit(
            small(), datamodule=other, ckpt_path=trained[0] / "kept" / "last.ckpt"
        )


def test_a_model_needs_to_know_its_classes() -> None:
    batch = Batch(torch.zeros(1, 3, 64, 32), torch.zeros(1), torch.zeros(1))
    with pytest.raises(UsageError, match="does not know its classes"):
        small().training_step(batch, 0)


def test_a_test_scores_with_the_threshold_of_the_last_validation(
    trained: tuple[Path, Trainer], sealed: Path, tmp_path: Path
) -> None:
    run = trainer(tmp_path, enable_checkpointing=False)
    module = PlayerReIDModule.load_from_checkpoint(trained[0] / "kept" / "last.ckpt")
    (found,) = run.test(module, datamodule=fold(sealed), verbose=False)
    # What is tested is what was validated.
    assert found["test_f1"] == pytest.approx(float(trained[1].callback_metrics["val_f1"]), abs=1e-5)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_it_trains_under_the_trainer_of_either_package(
    package: str, sealed: Path, tmp_path: Path
) -> None:
    seed_everything(1)
    of = PlayerReIDModule if package == "lightning.pytorch" else PlayerReIDModulePL
    model: Any = of(embedding=16, width=8)
    run = importlib.import_module(package).Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    run.fit(model, datamodule=fold(sealed))
    assert 0 < float(run.callback_metrics["val_f1"]) < 1
    for other in (PlayerReIDModule, PlayerReIDModulePL):
        again = other.load_from_checkpoint(run.checkpoint_callback.best_model_path)
        assert again.classes.tolist() == model.classes.tolist()
        assert torch.equal(again.threshold, model.threshold)


def test_a_loss_that_is_no_number_ends_the_run_with_its_rows(sealed: Path, tmp_path: Path) -> None:
    model = small()
    model.backbone.project.weight.data.fill_(float("nan"))
    run = trainer(tmp_path, enable_checkpointing=False)
    with pytest.raises(DivergedError, match="Lower the learning rate") as caught:
        run.fit(model, datamodule=fold(sealed))
    assert len(caught.value.rows) == 16


def test_a_score_that_is_no_number_ends_a_validation_with_its_rows(
    sealed: Path, tmp_path: Path
) -> None:
    model, data = small(), fold(sealed)
    run = trainer(tmp_path, enable_checkpointing=False)
    run.fit(model, datamodule=data)
    model.backbone.project.weight.data.fill_(float("nan"))
    message = r"the score of row \d+ and \d+ more is not a finite number: the training has diverged"
    with pytest.raises(DivergedError, match=message) as caught:
        run.validate(model, datamodule=data, verbose=False)
    first, *others = caught.value.rows
    assert f"row {first} and {len(others)} more" in str(caught.value)
    assert str(caught.value).endswith("Lower the learning rate (lr)")


def test_identities_that_are_all_known_are_scored_too(sealed: Path, tmp_path: Path) -> None:
    data = fold(sealed, num_workers=0, rule=stratified)
    run = trainer(tmp_path, enable_checkpointing=False)
    run.fit(small(), datamodule=data)
    assert 0 <= float(run.callback_metrics["val_f1"]) <= 1


# -- order, and going on ---------------------------------------------------------------------------


def test_a_look_at_the_first_batches_takes_nothing_from_validation(
    sealed: Path, tmp_path: Path
) -> None:
    seen, data = Seen(), fold(sealed)
    run = trainer(tmp_path, seen, epochs=2, num_sanity_val_steps=2, enable_checkpointing=False)
    run.fit(small(), datamodule=data)
    everything = data.split.rows("val", "unknown").tolist()
    assert [len(rows) for rows in seen.val] == [32, len(everything), len(everything)]
    assert seen.val[1] == seen.val[2] == everything


def test_epochs_cut_short_read_on(sealed: Path, tmp_path: Path) -> None:
    seen, whole = Seen(), Seen()
    for part, watch in ((3, seen), (1.0, whole)):
        run = trainer(
            tmp_path / str(part),
            watch,
            epochs=3,
            limit_train_batches=part,
            limit_val_batches=0,
            enable_checkpointing=False,
        )
        run.fit(small(), datamodule=fold(sealed))
    assert [seen.train[epoch] for epoch in range(3)] == [
        whole.train[epoch][:3] for epoch in range(3)
    ]
    assert whole.train[0] != whole.train[1]


@pytest.mark.parametrize("step", [3, 6, 8])
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # to go on
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    sealed: Path, tmp_path: Path, step: int
) -> None:
    """6 batches an epoch: stopped in the first epoch, at its end, in the second."""
    whole, rest = Seen(), Seen()
    first = small()
    run = trainer(tmp_path, whole, every_step(tmp_path / "kept"), epochs=3)
    run.fit(first, datamodule=fold(sealed))
    (saved,) = tmp_path.rglob(f"*step={step}.ckpt")
    other = small()
    run = trainer(tmp_path, rest, every_step(tmp_path / "kept"), epochs=3)
    run.fit(other, datamodule=fold(sealed, num_workers=0), ckpt_path=saved)
    batches = [rows for epoch in range(3) for rows in whole.train[epoch]]
    assert [rows for epoch in sorted(rest.train) for rows in rest.train[epoch]] == batches[step:]
    weights, again = first.state_dict(), other.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # to go on
def test_an_epochs_checkpoint_is_gone_on_from_with_the_next(sealed: Path, tmp_path: Path) -> None:
    def every_epoch() -> ModelCheckpoint:
        return ModelCheckpoint(
            tmp_path / "kept", filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
        )

    whole, rest = Seen(), Seen()
    trainer(tmp_path, whole, every_epoch(), epochs=3).fit(small(), datamodule=fold(sealed))
    run = trainer(tmp_path, rest, every_epoch(), epochs=3)
    run.fit(small(), datamodule=fold(sealed), ckpt_path=tmp_path / "kept" / "epoch=0.ckpt")
    assert rest.train == {epoch: whole.train[epoch] for epoch in (1, 2)}
    assert rest.val == whole.val[1:]


def test_the_same_seed_trains_the_same_model(sealed: Path, tmp_path: Path) -> None:
    weights = []
    for num_workers in (0, 2):
        model = small()
        run = trainer(tmp_path / str(num_workers), enable_checkpointing=False)
        run.fit(model, datamodule=fold(sealed, num_workers=num_workers))
        weights.append(model.state_dict())
    one, other = weights
    assert all(torch.equal(one[name], other[name]) for name in one)
