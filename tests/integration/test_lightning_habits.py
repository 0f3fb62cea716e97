"""What people do with a Trainer, and the rows that each epoch and rank then sees.

The table stands in HABITS. Each habit runs on a raw Loader and on a data module, in this process
and, marked slow, in two gloo ranks: those run this file as a script.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.tuner import Tuner

from lmdb_reid.codec import encode
from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import LoaderClosedError
from lmdb_reid.loaders import Batch, Loader, make_loader
from lmdb_reid.sampling import PKSampler
from lmdb_reid.store import Store, StoreWriter
from training.data import Loading, StoreData
from training.splits import Candidates, Split, open_set

COUNT, BATCH, EPOCHS = 48, 8, 3
TRAIN = np.arange(0, COUNT, 2)  # 24 rows: three batches of one rank
REST = np.arange(1, COUNT, 2)

pytestmark = [
    # Lightning 2.6 asks a question that torch 2.13 answers, and wants put differently.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
]


# -- what is trained -------------------------------------------------------------------------------


class Recorder(LightningModule):
    """Writes down the rows of every batch, by epoch or by pass."""

    def __init__(self, loader: Callable[[], Loader] | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_rows: dict[int, list[int]] = {}
        self.val_rows: list[list[int]] = []
        self.other_rows: list[int] = []
        self._loader = loader

    def train_dataloader(self) -> Any:
        """For habits that make loaders anew."""
        assert self._loader is not None
        return self._loader()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.train_rows.setdefault(self.current_epoch, []).extend(batch.rows.tolist())
        return self.weight * float(batch.labels.numel())

    def on_validation_epoch_start(self) -> None:
        self.val_rows.append([])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_rows[-1] += batch.rows.tolist()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.other_rows += batch.rows.tolist()

    def predict_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.other_rows += batch.rows.tolist()
        return batch.rows

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def halves(candidates: Candidates) -> Split:
    """Even rows to train on, odd ones held back."""
    parts = {"train": TRAIN, "val": REST[5:], "test": REST[:5]}
    return Split(parts=parts, labels=range(4))


class Subject:
    """A raw Loader or a data module over one store, fitted in the same words."""

    def __init__(self, kind: str, store: Path, **loading: Any) -> None:
        self.kind = kind
        self._store = store
        self._loading = {"batch_size": BATCH, "num_workers": 1} | loading
        self.data: StoreData | None = None
        self.loader: Loader | None = None
        if kind == "data module":
            self.data = StoreData(store, halves, Loading(**self._loading))
        else:
            self.loader = self.new_loader()  # before any Trainer knows of ranks
            self.val = self.new_loader(val=True)

    def new_loader(self, *, val: bool = False) -> Loader:
        dataset = ReIDDataset(self._store, REST[5:] if val else TRAIN)
        return make_loader(dataset, shuffle=not val, **self._loading)

    def fit(self, trainer: Trainer, model: Recorder, ckpt_path: Path | None = None) -> None:
        path = None if ckpt_path is None else str(ckpt_path)
        if self.data is not None:
            trainer.fit(model, datamodule=self.data, ckpt_path=path)
        elif self.loader is not None:
            trainer.fit(model, self.loader, self.val, ckpt_path=path)

    def close(self) -> None:
        if self.data is not None:
            self.data.teardown("fit")
        if self.loader is not None:
            self.loader.close()
            self.val.close()


def trainer(**settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    given = {"accelerator": "cpu", "max_epochs": EPOCHS, "enable_checkpointing": False}
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    apart = {"strategy": "ddp", "devices": ranks} if ranks > 1 else {"devices": 1}
    return Trainer(**quiet | given | apart | settings)


# -- what they should see --------------------------------------------------------------------------


def order(epoch: int) -> list[int]:
    """The rows of an epoch, of all ranks, as the documented rule draws them."""
    drawn = np.random.default_rng([0, epoch]).permutation(len(TRAIN))
    return TRAIN[drawn].tolist()


def share(rows: list[int], rank: int, ranks: int) -> list[int]:
    """What a rank reads of them: every `ranks`-th, from its own number on."""
    return rows[rank::ranks]


def epochs(
    *numbers: int, batches: int | None = None, rank: int = 0, ranks: int = 1
) -> list[list[int]]:
    """What a rank reads of some epochs, or of their first batches."""
    end = None if batches is None else batches * BATCH
    return [share(order(number), rank, ranks)[:end] for number in numbers]


# -- the habits ------------------------------------------------------------------------------------


def fitted(subject: Subject, folder: Path, **settings: Any) -> list[list[int]]:
    model = Recorder()
    subject.fit(trainer(**settings), model)
    return list(model.train_rows.values())


def reloaded(subject: Subject, folder: Path) -> list[list[int]]:
    """A loader made anew for each epoch; their threads end with them."""
    run = trainer(reload_dataloaders_every_n_epochs=1)
    subject.close()  # the threads of the loaders that it has already
    if subject.loader is not None:
        subject.val = subject.new_loader(val=True)
    before = threading.active_count()
    if subject.data is not None:
        model = Recorder()
        run.fit(model, datamodule=subject.data)
    else:
        model = Recorder(subject.new_loader)
        run.fit(model, val_dataloaders=subject.val)
    seen = list(model.train_rows.values())
    del run, model
    subject.close()
    gc.collect()
    ends = time.monotonic() + 60  # threads were told to end; a busy machine lets them do so late
    while threading.active_count() > before and time.monotonic() < ends:
        time.sleep(0.01)
    assert threading.active_count() <= before
    return seen


def broken_off(subject: Subject, folder: Path) -> list[list[int]]:
    """A plain loop that leaves after its first batch."""
    seen = []
    loader = subject.loader
    if subject.data is not None:
        subject.data.setup()
        loader = subject.data.train_dataloader()
    assert loader is not None
    for _ in range(EPOCHS):
        for batch in loader:
            seen.append(batch.rows.tolist())
            break
    return seen


class Counting(Recorder):
    """Asks how many steps there will be, as OneCycleLR has to: Lightning makes the loader for it,
    before it reads the checkpoint.
    """

    def configure_optimizers(self) -> Any:
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        steps = -(-len(TRAIN) // (BATCH * ranks))
        assert self.trainer.max_epochs is not None
        assert self.trainer.estimated_stepping_batches == steps * self.trainer.max_epochs
        return super().configure_optimizers()


def resumed(
    subject: Subject, folder: Path, *, after: str, kind: type[Recorder] = Recorder
) -> list[list[int]]:
    """A run that goes on from a checkpoint of epoch 0's end, or of its first step."""
    when: dict[str, Any] = {"save_on_train_epoch_end": True}
    if after == "step":
        when = {"every_n_train_steps": 1}
    kept = ModelCheckpoint(folder, filename="{epoch}-{step}", save_top_k=-1, **when)
    model = kind()
    subject.fit(trainer(callbacks=[kept], enable_checkpointing=True, max_epochs=1), model)
    (saved,) = folder.glob("*step=1.ckpt" if after == "step" else "*.ckpt")
    other = Subject(subject.kind, subject._store, num_workers=0)
    model = kind()
    other.fit(trainer(), model, ckpt_path=saved)
    other.close()
    return list(model.train_rows.values())


class _Early(Callback):
    """Saves a checkpoint before a batch was read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


def saved_before_the_first_batch(subject: Subject, folder: Path) -> list[list[int]]:
    """The state of a loader that was not read yet, saved and gone on from."""
    path = folder / "early.ckpt"
    whole = Recorder()
    subject.fit(trainer(callbacks=[_Early(path)], max_epochs=1), whole)
    other = Subject(subject.kind, subject._store)
    model = Recorder()
    other.fit(trainer(max_epochs=2), model, ckpt_path=path)
    other.close()
    return [*whole.train_rows.values(), *model.train_rows.values()]


def with_fabric(subject: Subject, folder: Path) -> list[list[int]]:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto")
    fabric.launch()
    loader = subject.loader
    if subject.data is not None:
        subject.data.setup()
        loader = subject.data.train_dataloader()
    assert loader is not None
    seen = []
    for _ in range(EPOCHS):
        batches = [fabric.to_device(batch).rows.tolist() for batch in loader]
        seen.append([row for rows in batches for row in rows])
    return seen


Habit = Callable[[Subject, Path], list[list[int]]]

HABITS: dict[str, tuple[Habit, Callable[..., list[list[int]]]]] = {
    "whole epochs": (fitted, functools.partial(epochs, 0, 1, 2)),
    "limit_train_batches": (
        functools.partial(fitted, limit_train_batches=1),
        functools.partial(epochs, 0, 1, 2, batches=1),
    ),
    "break": (broken_off, functools.partial(epochs, 0, 1, 2, batches=1)),
    "accumulate_grad_batches": (
        functools.partial(fitted, accumulate_grad_batches=2),
        functools.partial(epochs, 0, 1, 2),
    ),
    "val_check_interval": (
        functools.partial(fitted, val_check_interval=1),
        functools.partial(epochs, 0, 1, 2),
    ),
    "no sanity check": (
        functools.partial(fitted, num_sanity_val_steps=0),
        functools.partial(epochs, 0, 1, 2),
    ),
    "overfit_batches": (
        functools.partial(fitted, overfit_batches=1),
        functools.partial(epochs, 0, 0, 0, batches=1),
    ),
    "fast_dev_run": (
        functools.partial(fitted, fast_dev_run=True),
        functools.partial(epochs, 0, batches=1),
    ),
    "reload_dataloaders_every_n_epochs": (reloaded, functools.partial(epochs, 0, 1, 2)),
    "resume at an epoch's end": (
        functools.partial(resumed, after="epoch"),
        functools.partial(epochs, 1, 2),
    ),
    "resume in mid-epoch": (
        functools.partial(resumed, after="step"),
        lambda **ranks: [epochs(0, **ranks)[0][BATCH:], *epochs(1, 2, **ranks)],
    ),
    "resume at an epoch's end, steps counted": (
        functools.partial(resumed, after="epoch", kind=Counting),
        functools.partial(epochs, 1, 2),
    ),
    "resume in mid-epoch, steps counted": (
        functools.partial(resumed, after="step", kind=Counting),
        lambda **ranks: [epochs(0, **ranks)[0][BATCH:], *epochs(1, 2, **ranks)],
    ),
    "state before training": (
        saved_before_the_first_batch,
        functools.partial(epochs, 0, 0, 1),
    ),
    "Fabric": (with_fabric, functools.partial(epochs, 0, 1, 2)),
}


def new_store(path: Path) -> Path:
    """48 samples of four people, 16x8 pixels."""
    draw = np.random.default_rng(0)
    with StoreWriter(path) as writer:
        for number in range(COUNT):
            pixels = draw.integers(0, 255, (16, 8, 3), np.uint8)
            writer.put(f"{number:02d}", encode(pixels, quality=90), {"label": number // 12})
        writer.seal()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_store(tmp_path_factory.mktemp("habits") / "s.lmdb")


@pytest.fixture(params=["raw loader", "data module"])
def subject(request: pytest.FixtureRequest, store: Path) -> Iterator[Subject]:
    made = Subject(request.param, store)
    yield made
    made.close()


@pytest.mark.parametrize("name", HABITS)
def test_each_epoch_reads_the_rows_it_should(name: str, subject: Subject, tmp_path: Path) -> None:
    habit, wanted = HABITS[name]
    assert habit(subject, tmp_path) == wanted()


# -- what only one process has ---------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 1}, {"limit_val_batches": 1}])
def test_each_validation_reads_all_that_is_held_back(
    subject: Subject, settings: dict[str, Any]
) -> None:
    model = Recorder()
    subject.fit(trainer(max_epochs=2, **settings), model)
    whole = REST[5:].tolist()
    first, *validations = model.val_rows  # the first is Lightning's sanity check
    assert first == whole[: BATCH * (1 if "limit_val_batches" in settings else 2)]
    wanted = whole[:BATCH] if "limit_val_batches" in settings else whole
    count = 2 * 3 if "val_check_interval" in settings else 2
    assert validations == [wanted] * count


def test_a_shuffled_validation_begins_its_epoch_anew_after_the_sanity_check(store: Path) -> None:
    with Subject("raw loader", store).new_loader() as val:
        model = Recorder()
        trainer(max_epochs=2).fit(model, Subject("raw loader", store).new_loader(), val)
        sanity, *validations = model.val_rows
    assert sanity == order(0)[: 2 * BATCH]
    assert validations == [order(0), order(1)]


def test_the_batch_size_finder_sets_what_loaders_take(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = StoreData(store, halves, Loading(batch_size=2, num_workers=1))
    run = trainer(max_epochs=1, default_root_dir=tmp_path)
    model = Recorder()
    found = Tuner(run).scale_batch_size(model, datamodule=data, max_trials=2, init_val=2)
    assert found == data.batch_size == 4
    model.train_rows.clear()
    run.fit(model, datamodule=data)
    assert len(run.train_dataloader) == len(TRAIN) // 4
    assert list(model.train_rows.values()) == epochs(0)


def test_tests_and_predictions_read_their_parts(store: Path) -> None:
    data = StoreData(store, halves, Loading(batch_size=BATCH, num_workers=1))
    for part, wanted in (("test", REST[:5]), ("predict", REST[5:])):
        model = Recorder()
        run = trainer()
        getattr(run, part)(model, datamodule=data)
        assert model.other_rows == wanted.tolist()


def test_a_sampler_makes_the_batches_of_training(store: Path) -> None:
    data = StoreData(
        store,
        open_set_of_two,
        Loading(num_workers=1),
        sampler=functools.partial(PKSampler, p=2, k=3),
    )
    model = Recorder()
    trainer(max_epochs=2).fit(model, datamodule=data)
    dataset = data.samples.select(data.split["train"], _labels(store)[data.split["train"]], None)
    positions = [PKSampler(dataset, p=2, k=3).positions(epoch) for epoch in range(2)]
    assert list(model.train_rows.values()) == [
        data.split["train"][drawn].tolist() for drawn in positions
    ]
    assert data.train_dataloader().batch_size == 6


def open_set_of_two(candidates: Candidates) -> Split:
    return open_set(candidates, n_folds=2, unknown_per_fold=1)


def _labels(store: Path) -> Any:
    with Store(store) as opened:
        return np.array(opened.columns["label"])


def test_a_pass_of_a_closed_loader_says_so(store: Path) -> None:
    loader = Subject("raw loader", store).new_loader()
    batches = iter(loader)
    loader.close()
    with pytest.raises(LoaderClosedError):
        next(batches)


# -- two ranks -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_ranks_share_each_epoch(store: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(store), str(tmp_path)],
            env=os.environ
            | {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "GROUP_RANK": "0",
                "TORCHELASTIC_RUN_ID": "habits",  # so that Lightning starts no processes itself
                "OMP_NUM_THREADS": "1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=280)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors[0]
    for rank in range(2):
        seen = json.loads((tmp_path / f"rank{rank}.json").read_text())
        for name, (_, wanted) in HABITS.items():
            for kind in ("raw loader", "data module"):
                assert seen[f"{kind}, {name}"] == wanted(rank=rank, ranks=2), (rank, kind, name)


def main(store: Path, out: Path) -> None:
    """One rank: every habit on both kinds, written down."""
    seen = {}
    for kind in ("raw loader", "data module"):
        for name, (habit, _) in HABITS.items():
            folder = out / kind / name.replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            subject = Subject(kind, store)
            seen[f"{kind}, {name}"] = habit(subject, folder)
            subject.close()
    (out / f"rank{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
