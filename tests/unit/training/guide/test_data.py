from __future__ import annotations

import inspect
import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from builders import AtmaCup, BuildSettings, build, ready
from builders.game import Game
from builders.job import job_of
from builders.pipeline import build_job
from lmdb_reid.codec import encode
from lmdb_reid.errors import LoaderClosedError, SourceNotFoundError, StoreWriteError, UsageError
from lmdb_reid.loaders import Batch, _dataloader
from lmdb_reid.schema import Kind
from lmdb_reid.store import Store, StoreWriter, _growing
from training import (
    PlayerReIDDataModule,
    PlayerReIDDataModuleCV,
    PlayerReIDDataset,
    build_tracks,
    clean_tracks,
    load_fold_metadata,
    load_train_meta,
    prepare_cropped_cache,
)
from training.data import _loading as loading
from training.splits import load_split

SIZE = (64, 32)
SMALL: dict[str, Any] = {
    "image_size": SIZE,
    "batch_size": 16,
    "num_workers": 2,
    "drop_last": False,
}
GUIDE = {
    "train_meta_path": None,
    "img_root": None,
    "batch_size": 64,
    "num_workers": None,
    "train_ratio": 0.8,
    "bbox_mode": "drop",
    "image_size": 224,
    "use_crop_cache": True,
    "cache_dir": None,
    "expand_ratio": 1.2,
}
FOLDS = {"n_folds": 5, "fold_idx": 0, "unknown_per_fold": 2, "cv_seed": 42}


class Fold(PlayerReIDDataModuleCV):
    """A fold whose batches have rows, validated on everything that is not trained on."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"val_unknown": True} | settings)

    def _view(self, loaders: Any) -> Any:
        return loaders


class Plain(PlayerReIDDataModule):
    """The same of the other module."""

    def _view(self, loaders: Any) -> Any:
        return loaders


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the guide's folder `outputs` goes."""
    monkeypatch.chdir(tmp_path)


def joined(batches: Iterable[Batch]) -> Batch:
    """All batches of a pass as one."""
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def game_module(game: Game, **settings: Any) -> Fold:
    """A fold of the game, set up."""
    module = Fold(game.train_meta, game.img_root, **SMALL | settings)
    module.prepare_data()
    module.setup()
    return module


def store_module(store: Store | Path, **settings: Any) -> Fold:
    module = Fold(store=store, **SMALL | settings)
    module.setup()
    return module


# -- the guide's arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (PlayerReIDDataModule, {**GUIDE, "area_multiplier": 2.0}),
        (PlayerReIDDataModuleCV, {**GUIDE, **FOLDS}),
    ],
)
def test_takes_the_guides_arguments_with_its_defaults(module: Any, arguments: Any) -> None:
    taken = inspect.signature(module).parameters
    assert {name: taken[name].default for name in arguments} == arguments
    assert ("area_multiplier" in taken) == (module is PlayerReIDDataModule)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "either store"),
        ({"store": "s.lmdb", "train_meta_path": "a.csv", "img_root": "i"}, "either store"),
        ({"train_meta_path": "a.csv"}, "must be passed together"),
        ({"store": "s.lmdb", "use_crop_cache": False}, "use_crop_cache=False"),
        ({"store": "s.lmdb", "num_workers": -1}, "num_workers must be .* got -1"),
        ({"store": "s.lmdb", "prefetch_factor": 0}, "prefetch must be .* got 0"),
        ({"store": "s.lmdb", "batch_size": 0}, "batch_size must be .* got 0"),
        ({"store": "s.lmdb", "image_size": 0}, "size"),
        ({"store": "s.lmdb", "expand_ratio": 0.5}, "expand must be 1.0 .* to 10.0, got 0.5"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        PlayerReIDDataModuleCV(**arguments)


def test_nothing_is_known_before_setup(sealed: Path) -> None:
    module = Fold(store=sealed)
    with pytest.raises(UsageError, match="call setup"):
        module.train_dataloader()


# -- from a store ----------------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [True, False])
def test_a_store_gives_a_fold_in_batches(sealed: Path, as_path: bool) -> None:
    with Store(sealed) as store:
        module = store_module(sealed if as_path else store)
        labels, kinds = store.columns["label"], store.columns["kind"]
        assert module.classes.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]  # 3 and 7 are strangers
        train = joined(module.train_dataloader())
        val = joined(module.val_dataloader())
        assert train.images.shape == (len(module.split["train"]), 3, *SIZE)
        assert train.images.dtype == torch.float32
        assert len(train.rows.unique()) == len(train.rows) == 8 * int(16 * 0.8)
        assert module.classes[train.labels.numpy()].tolist() == labels[train.rows].tolist()
        # The rest: known identities held back, strangers, and every negative.
        assert sorted([*train.rows.tolist(), *val.rows.tolist()]) == list(range(len(store)))
        known = val.labels >= 0
        assert (
            module.classes[val.labels[known].numpy()].tolist() == labels[val.rows[known]].tolist()
        )
        strangers = val.rows[~known].numpy()
        assert set(labels[strangers].tolist()) == {-1, 3, 7}
        assert {Kind.BACKGROUND, Kind.PARTIAL} < set(kinds[strangers].tolist())
        shown = store.at(int(train.rows[0])).image
        pixels = (train.images[0] * 255).round().permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, shown)


def test_image_size_none_is_the_stores_own_and_one_number_a_square(sealed: Path) -> None:
    own = store_module(sealed, image_size=None)
    square = store_module(sealed, image_size=48)
    assert next(iter(own.train_dataloader())).images.shape == (16, 3, 64, 32)
    assert next(iter(square.train_dataloader())).images.shape == (16, 3, 48, 48)


def dark(image: Image.Image, *, generator: torch.Generator) -> torch.Tensor:
    assert image.mode == "RGB"
    return torch.zeros(3, *image.size[::-1]) * torch.rand(1, generator=generator)


def halved(image: Image.Image, *, generator: torch.Generator) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[:, ::2, ::2]


def test_transforms_of_pil_images_are_of_training_and_validation(sealed: Path) -> None:
    module = store_module(sealed, transform=dark, val_transform=halved, engine="threads")
    train, val = next(iter(module.train_dataloader())), next(iter(module.val_dataloader()))
    assert train.images.dtype == torch.float32 and not train.images.any()
    assert val.images.shape == (16, 3, 32, 16) and val.images.dtype == torch.uint8


def test_transforms_that_a_user_overrides_are_called(sealed: Path) -> None:
    asked: list[bool] = []

    class Own(Fold):
        def _build_transforms(self, is_train: bool = True) -> Any:
            asked.append(is_train)
            return dark if is_train else halved

    module = Own(store=sealed, **SMALL | {"num_workers": 0})
    module.setup()
    assert not next(iter(module.train_dataloader())).images.any()
    assert next(iter(module.val_dataloader())).images.shape == (16, 3, 32, 16)
    assert {*asked} == {True, False}


def test_each_fold_has_its_own_strangers(sealed: Path) -> None:
    held_out = [store_module(sealed, fold_idx=fold).unknown_labels_this_fold for fold in range(5)]
    assert sorted(label for labels in held_out for label in labels) == list(range(10))


def test_junk_and_distractors_are_in_no_part(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        for number in range(24):
            pixels = np.full((64, 32, 3), number, np.uint8)
            kind = {22: Kind.JUNK, 23: Kind.DISTRACTOR}.get(number, Kind.PERSON)
            label = {Kind.JUNK: -1, Kind.DISTRACTOR: 0}.get(kind, number % 4)
            record = {"label": label, "kind": int(kind)}
            writer.put(f"{number:02d}", encode(pixels, quality=90), record)
        writer.seal()
    module = store_module(tmp_path / "s.lmdb", n_folds=2, unknown_per_fold=1)
    assert module.split.rows("train", "val", "unknown").tolist() == list(range(22))


def test_the_plain_module_knows_everybody_from_the_side(sealed: Path) -> None:
    module = Plain(store=sealed, **SMALL)
    module.setup()
    assert module.classes.tolist() == list(range(10))
    train, val = joined(module.train_dataloader()), joined(module.val_dataloader())
    assert len(train.rows) == 10 * int(8 * 0.8)
    assert len(train.rows) + len(val.rows) == 80
    assert int(val.labels.min()) >= 0
    with Store(sealed) as store:
        names = store.to_pandas()["angle"].to_numpy()
    assert set(names[torch.cat([train.rows, val.rows]).numpy()]) == {"side"}


def test_angles_can_be_chosen(sealed: Path) -> None:
    everything = Plain(store=sealed, angle=None, **SMALL)
    everything.setup()
    assert len(everything.split["train"]) + len(everything.split["val"]) == 160
    with pytest.raises(UsageError, match="one of side, top, or None"):
        store_module(sealed, angle="back")


def test_a_part_without_samples_is_told(sealed: Path) -> None:
    module = Plain(store=sealed, train_ratio=1.0, **SMALL)
    module.setup()
    with pytest.raises(UsageError, match="nothing to validate on"):
        module.val_dataloader()


def test_a_saved_split_can_be_loaded_again(sealed: Path, tmp_path: Path) -> None:
    module = store_module(sealed, fold_idx=3)
    module.save_split(tmp_path / "split.csv")
    again = load_split(tmp_path / "split.csv", module.samples.ids)
    for part in ("train", "val", "unknown"):
        assert np.array_equal(again[part], module.split[part])
    assert again.labels == module.classes.tolist()


# -- what the guide's code asks of a module --------------------------------------------------------


def test_a_module_has_the_guides_attributes(own_game: Game, tmp_path: Path) -> None:
    module = PlayerReIDDataModuleCV(own_game.train_meta, own_game.img_root, fold_idx=1, **SMALL)
    assert (module.num_classes, module.unknown_labels_this_fold) == (None, None)
    module.setup()
    given = {
        "batch_size": 16,
        "num_workers": 2,
        "image_size": SIZE,
        "fold_meta_dir": "outputs/fold_metadata",
        "cache_dir": str(own_game.train_meta.parent),
        "n_folds": 5,
        "fold_idx": 1,
        "expand_ratio": 1.2,
        "train_ratio": 0.8,
        "cv_seed": 42,
        "num_classes": 8,
        "unknown_labels_this_fold": [2, 8],
        "bbox_mode": "drop",
        "unknown_per_fold": 2,
        "train_meta_path": own_game.train_meta,
        "img_root": own_game.img_root,
        "use_crop_cache": True,
    }
    assert {name: getattr(module, name) for name in given} == given
    assert (len(module.train_samples), len(module.val_samples)) == (8 * 12, 8 * 4)
    labels = {sample.label_id for sample in module.train_samples}
    assert labels == set(range(8))
    assert all(Path(sample.img_path).is_file() for sample in module.val_samples)
    saved = load_fold_metadata(1, tmp_path / "outputs/fold_metadata")
    assert [len(part) for part in saved] == [8 * 12, 8 * 4, 2]
    assert {sample.label_id for sample in saved[0]} == set(module.classes.tolist())


def test_the_guides_modules_validate_known_identities_alone(sealed: Path) -> None:
    module = PlayerReIDDataModuleCV(store=sealed, **SMALL)
    module.setup()
    labels = torch.cat([labels for _, labels in module.val_dataloader()])
    assert len(labels) == len(module.split["val"]) == 8 * 4
    assert int(labels.min()) == 0 and int(labels.max()) == 7


def test_a_last_training_batch_that_is_not_full_is_left_out(sealed: Path) -> None:
    module = PlayerReIDDataModuleCV(store=sealed, **SMALL | {"batch_size": 20, "drop_last": True})
    module.setup()
    assert [len(labels) for _, labels in module.train_dataloader()] == [20] * 4  # of 96
    assert len(module.train_dataloader()) == 4
    assert sum(len(labels) for _, labels in module.val_dataloader()) == 32
    assert inspect.signature(PlayerReIDDataModuleCV).parameters["drop_last"].default is True


def test_what_was_split_is_logged(sealed: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("of a user")
    with caplog.at_level(logging.INFO, log.name):
        PlayerReIDDataModuleCV(store=sealed, logger=log, **SMALL).setup()
    assert "96 samples to train on, 32 to validate on, 8 classes" in caplog.text


@pytest.mark.parametrize("module", [PlayerReIDDataModule, PlayerReIDDataModuleCV])
def test_an_argument_that_no_version_had_is_answered_with_the_nearest(module: Any) -> None:
    with pytest.raises(TypeError, match=r"no argument 'image_sise'\. Did you mean 'image_size'"):
        module(store="s.lmdb", image_sise=3)
    with pytest.raises(UsageError, match=module.__name__):
        module(with_rows=True)


def test_a_folder_of_cached_crops_is_read_as_it_is(own_game: Game, tmp_path: Path) -> None:
    frames = game_module(own_game, use_crop_cache=False)
    samples = clean_tracks(build_tracks(load_train_meta(own_game.train_meta, own_game.img_root)))
    prepare_cropped_cache(samples, tmp_path / "crops", expand_ratio=1.2, quality=100)
    module = Fold(own_game.train_meta, tmp_path / "crops", **SMALL)
    module.prepare_data()
    module.setup()
    assert not list(own_game.train_meta.parent.glob("*.lmdb"))
    assert len(module.split["train"]) == len(frames.split["train"])
    crops, cut = (
        {(s.quarter, s.angle, s.frame, s.label_id) for s in each.train_samples}
        for each in (module, frames)
    )
    assert crops == cut
    assert joined(module.train_dataloader()).images.shape == (96, 3, *SIZE)
    with pytest.raises(SourceNotFoundError, match=r"expand_ratio=1\.1. Pass img_root="):
        Fold(own_game.train_meta, tmp_path / "crops", expand_ratio=1.1, **SMALL).setup()
    with pytest.raises(SourceNotFoundError, match="use_crop_cache=False crops from frames"):
        Fold(own_game.train_meta, tmp_path / "crops", use_crop_cache=False, **SMALL).setup()


def test_a_csv_that_was_joined_with_itself_gives_the_same_fold(
    own_game: Game, tmp_path: Path
) -> None:
    samples = clean_tracks(build_tracks(load_train_meta(own_game.train_meta, own_game.img_root)))
    prepare_cropped_cache(samples, tmp_path / "crops", expand_ratio=1.2)
    head, *lines = own_game.train_meta.read_text().splitlines()
    own_game.train_meta.write_text("\n".join([head, *lines, *lines]) + "\n")
    cut = Fold(own_game.train_meta, own_game.img_root, **SMALL)
    cut.setup()
    cached = Fold(own_game.train_meta, tmp_path / "crops", **SMALL)
    with pytest.warns(
        UserWarning, match="160 of 320 rows are left out: its frame has the same box with the same"
    ):
        cached.setup()
    for module in (cut, cached):
        assert [len(module.split[part]) for part in ("train", "val")] == [96, 32]
        names = [(s.quarter, s.angle, s.frame, s.label_id) for s in module.train_samples]
        assert len(set(names)) == len(names)


def test_samples_whose_file_is_a_crop_are_not_cut_again(own_game: Game, tmp_path: Path) -> None:
    samples = load_train_meta(own_game.train_meta, own_game.img_root)[:3]
    cached = prepare_cropped_cache(samples, tmp_path / "somewhere", expand_ratio=1.2)
    for use_cache in (True, False):
        whole = PlayerReIDDataset(cached, expand_ratio=1.2, use_cache=use_cache)
        cut = PlayerReIDDataset(samples, expand_ratio=1.2, use_cache=use_cache)
        for (crop, label), (frame, other) in zip(whole, cut, strict=True):
            assert crop.shape == frame.shape and label == other


# -- loaders ---------------------------------------------------------------------------------------


def made_with(monkeypatch: pytest.MonkeyPatch, module: PlayerReIDDataModuleCV) -> dict[str, Any]:
    """What the module's training loader was asked of `make_loader`."""
    asked: dict[str, Any] = {}
    real = loading.make_loader

    def recorded(*args: Any, **kwargs: Any) -> Any:
        asked.update(kwargs)
        return real(*args, **kwargs)

    monkeypatch.setattr(loading, "make_loader", recorded)
    joined(module.train_dataloader())
    return asked


def test_settings_of_workers_are_make_loaders(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = store_module(sealed, num_workers=1, prefetch_factor=4, seed=9)
    asked = made_with(monkeypatch, module)
    assert (asked["num_workers"], asked["prefetch"], asked["seed"]) == (1, 4, 9)
    assert asked["engine"] == "auto" and asked["shuffle"] is True


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("persistent", [True, False])
def test_torchs_own_loader_gets_them_unchanged(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int, persistent: bool
) -> None:
    given: dict[str, Any] = {}

    class Recorded(DataLoader[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            given.update(kwargs)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(_dataloader, "DataLoader", Recorded)
    module = store_module(
        sealed,
        engine="dataloader",
        num_workers=num_workers,
        prefetch_factor=5,
        persistent_workers=persistent,
        pin_memory=False,
    )
    rows = joined(module.train_dataloader()).rows
    assert sorted(rows.tolist()) == module.split["train"].tolist()
    assert (given["num_workers"], given["pin_memory"]) == (num_workers, False)
    assert given["prefetch_factor"] == (5 if num_workers else None)
    assert given["persistent_workers"] is (persistent and num_workers > 0)
    module.teardown("fit")


def test_pinned_memory_reaches_torchs_loader(sealed: Path) -> None:
    module = store_module(sealed, engine="dataloader", num_workers=0, pin_memory=True)
    if torch.cuda.is_available():
        assert next(iter(module.train_dataloader())).images.is_pinned()
    else:
        with pytest.warns(UserWarning, match="pin_memory"):
            next(iter(module.train_dataloader()))


@pytest.mark.parametrize("settings", [{"num_workers": 0}, {"prefetch_factor": None}])
def test_without_workers_or_prefetching_the_batches_are_the_same(
    sealed: Path, settings: dict[str, Any]
) -> None:
    first = joined(store_module(sealed).train_dataloader())
    other = joined(store_module(sealed, **settings).train_dataloader())
    assert torch.equal(first.rows, other.rows)
    assert torch.equal(first.images, other.images)


def test_an_epoch_has_an_order_of_its_own_and_a_state(sealed: Path) -> None:
    loader = store_module(sealed).train_dataloader()
    first, second = joined(loader).rows, joined(loader).rows
    assert not torch.equal(first, second)
    begun = iter(loader)
    loader.batch_sampler.sampler.set_epoch(0)  # as a trainer says it: too late for some
    assert torch.equal(joined(begun).rows, first)
    batches = iter(loader)
    seen = [next(batches).rows, next(batches).rows]
    other = store_module(sealed).train_dataloader()
    other.load_state_dict(loader.state_dict())
    other.batch_sampler.sampler.set_epoch(1)  # as a trainer says it again
    rest = joined(other).rows
    assert torch.equal(torch.cat([*seen, rest]), second)


def test_teardown_ends_the_workers(sealed: Path) -> None:
    module = store_module(sealed)
    loader = module.train_dataloader()
    next(iter(loader))
    module.teardown("fit")
    with pytest.raises(LoaderClosedError, match="closed"):
        next(iter(loader))


# -- from a csv and frames -------------------------------------------------------------------------


def only_store(folder: Path) -> Path:
    (path,) = folder.glob("*.lmdb")
    return path


def test_the_store_is_built_once_beside_the_csv(own_game: Game, sealed: Path) -> None:
    module = game_module(own_game)
    path = only_store(own_game.train_meta.parent)
    sealed_at = (path / "manifest.json").stat().st_mtime_ns
    again = game_module(own_game)
    assert (path / "manifest.json").stat().st_mtime_ns == sealed_at
    with Store(path) as built, Store(sealed) as ours:
        assert built.digest == ours.digest
    for one, other in ((module, again), (module, store_module(sealed))):
        assert torch.equal(
            joined(one.train_dataloader()).images, joined(other.train_dataloader()).images
        )


def test_it_is_built_by_setup_where_nobody_prepared_it(own_game: Game) -> None:
    module = Fold(own_game.train_meta, own_game.img_root, **SMALL)
    module.setup()
    assert len(joined(module.train_dataloader()).rows) == 8 * int(16 * 0.8)


def test_it_is_built_anew_when_the_csv_changed(own_game: Game) -> None:
    game_module(own_game)
    lines = own_game.train_meta.read_text().splitlines()
    own_game.train_meta.write_text("\n".join(lines[:-10]) + "\n")
    module = game_module(own_game)
    assert sum(module.samples.column("kind") == Kind.PERSON) == 150
    only_store(own_game.train_meta.parent)


def test_other_settings_get_a_store_of_their_own(own_game: Game) -> None:
    modules = [game_module(own_game, **more) for more in ({}, {"expand_ratio": 1.0})]
    folder = own_game.train_meta.parent
    assert len(list(folder.glob("*.lmdb"))) == 2
    first, second = (next(iter(module.val_dataloader())).images for module in modules)
    assert not torch.equal(first, second)


def test_a_store_that_is_not_of_these_settings_is_replaced(own_game: Game) -> None:
    source = AtmaCup(own_game.train_meta, own_game.img_root)
    wanted = BuildSettings(size=SIZE)
    path = ready.store_path(job_of(source, wanted), own_game.train_meta.parent)
    build(source, path, BuildSettings(size=SIZE, quality=50))
    assert ready.ready_store(source, wanted, path.parent) == path
    with Store(path) as store:
        assert store.manifest.build["quality"] == 95


def test_frames_elsewhere_make_another_store(own_game: Game) -> None:
    first = game_module(own_game)
    moved = own_game.img_root.rename(own_game.img_root.with_name("elsewhere"))
    module = Fold(own_game.train_meta, moved, **SMALL)
    module.prepare_data()
    with Store(only_store(own_game.train_meta.parent)) as store:
        assert store.manifest.source["img_root"] == str(moved)
    assert len(first.samples.ids) == len(store)


def test_a_damaged_store_is_built_anew(own_game: Game) -> None:
    game_module(own_game)
    path = only_store(own_game.train_meta.parent)
    os.truncate(path / "data.mdb", 5000)
    assert len(joined(game_module(own_game).train_dataloader()).rows) == 8 * int(16 * 0.8)


def test_a_build_that_was_stopped_is_gone_on_with(
    own_game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_growing, "COMMIT_BYTES", 1)  # or so small a build begins at its beginning
    real, told = ready.build_job, []

    def watched(*args: Any, **kwargs: Any) -> Any:
        def watch(done: int, total: int, crops: int) -> None:
            told.append(done)
            if len(told) == 3:
                raise KeyboardInterrupt

        return real(*args, **kwargs | {"progress": watch})

    monkeypatch.setattr(ready, "build_job", watched)
    with pytest.raises(KeyboardInterrupt):
        game_module(own_game)
    assert len(game_module(own_game).samples.ids) == 336
    assert told == [1, 2, 3, *range(4, own_game.frames + 1)]


def test_a_stopped_build_of_another_csv_is_no_hindrance(
    own_game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any, **kwargs: Any) -> Any:
        def stop(done: int, total: int, crops: int) -> None:
            raise KeyboardInterrupt

        return build_job(*args, **kwargs | {"progress": stop})

    with monkeypatch.context() as patched:
        patched.setattr(ready, "build_job", stopped)
        with pytest.raises(KeyboardInterrupt):
            game_module(own_game)
    lines = own_game.train_meta.read_text().splitlines()
    own_game.train_meta.write_text("\n".join(lines[:-10]) + "\n")
    assert sum(game_module(own_game).samples.column("kind") == Kind.PERSON) == 150


def test_the_store_goes_where_it_is_told(own_game: Game, tmp_path: Path) -> None:
    game_module(own_game, cache_dir=tmp_path / "deep" / "cache")
    only_store(tmp_path / "deep" / "cache")
    assert not list(own_game.train_meta.parent.glob("*.lmdb"))


def test_csvs_of_one_name_share_a_folder_in_peace(
    own_game: Game, game: Game, tmp_path: Path
) -> None:
    modules = [game_module(each, cache_dir=tmp_path / "cache") for each in (game, own_game, game)]
    assert len(list((tmp_path / "cache").glob("*.lmdb"))) == 2
    assert list(modules[0].samples.ids) == list(modules[1].samples.ids)


def test_a_folder_that_cannot_be_written_names_the_argument(game: Game, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError, match="cache_dir"):
        game_module(game, cache_dir=tmp_path / "file")


def test_a_csv_that_is_not_there_is_told(game: Game, tmp_path: Path) -> None:
    module = PlayerReIDDataModuleCV(tmp_path / "none.csv", game.img_root)
    with pytest.raises(SourceNotFoundError, match=r"none\.csv"):
        module.prepare_data()


_RACER = """
import logging, sys, time
from pathlib import Path
from builders import AtmaCup, BuildSettings
from builders.ready import ready_store
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
csv, frames, cache, me = sys.argv[1:]
(Path(cache) / me).touch()
while len(list(Path(cache).glob("racer*"))) < 2:
    time.sleep(0.01)
print(ready_store(AtmaCup(csv, frames), BuildSettings(size=(64, 32)), cache))
"""


def test_of_two_processes_one_builds_and_the_other_waits(game: Game, tmp_path: Path) -> None:
    words = [str(game.train_meta), str(game.img_root), str(tmp_path)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, *words, f"racer{number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    told = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum("building" in text for text in told) == 1
    paths = {text.splitlines()[-1] for text in told}
    assert paths == {str(only_store(tmp_path))}
    with Store(paths.pop()) as store:
        assert store.verify(deep=True).ok
    assert not list(tmp_path.glob("*.partial"))


# -- cut at run time -------------------------------------------------------------------------------


def test_without_a_store_only_the_pixels_way_differs(own_game: Game, sealed: Path) -> None:
    module = game_module(own_game, use_crop_cache=False)
    ours = store_module(sealed)
    assert not list(own_game.train_meta.parent.glob("*.lmdb"))
    assert list(module.samples.ids) == list(ours.samples.ids)
    for loader, other in (
        (module.train_dataloader(), ours.train_dataloader()),
        (module.val_dataloader(), ours.val_dataloader()),
    ):
        cut, stored = joined(loader), joined(other)
        assert torch.equal(cut.rows, stored.rows)
        assert torch.equal(cut.labels, stored.labels)
        assert cut.images.dtype == torch.float32
        apart = (cut.images - stored.images).abs().mean((1, 2, 3)) * 255
        assert 0 < float(apart.mean()) < 4  # of 255: a store's are JPEG once more
        assert float(apart.max()) < 12


def test_cutting_at_run_time_takes_transforms_and_processes(own_game: Game) -> None:
    module = game_module(
        own_game, use_crop_cache=False, engine="dataloader", transform=_noisy, num_workers=1
    )
    first, other = joined(module.train_dataloader()), joined(module.train_dataloader())
    assert first.images.dtype == torch.float32
    assert torch.equal(first.images, other.images)  # the same epoch twice
    module.teardown("fit")


def _noisy(image: Image.Image, *, generator: torch.Generator) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels + torch.rand(pixels.shape, generator=generator)


def test_boxes_that_a_build_would_skip_are_not_cut(own_game: Game) -> None:
    text = own_game.train_meta.read_text()
    own_game.train_meta.write_text(text + "Q1-000,side,0,1,5000,5000,20,40,3\n")
    with pytest.warns(UserWarning, match="1 of .* rows cannot be used .*is outside"):
        cut = game_module(own_game, use_crop_cache=False)
    with pytest.warns(UserWarning, match="1 of .* rows cannot be used .*is outside"):
        built = game_module(own_game)
    assert list(cut.samples.ids) == list(built.samples.ids)
    assert len(joined(cut.val_dataloader()).rows) == len(joined(built.val_dataloader()).rows)


def test_a_frame_that_went_away_is_told(own_game: Game) -> None:
    module = game_module(own_game, use_crop_cache=False)
    for frame in own_game.img_root.iterdir():
        frame.unlink()
    with pytest.raises(SourceNotFoundError, match="no frame at"):
        joined(module.train_dataloader())


# -- batches as the guide's code has them ------------------------------------------------------


@pytest.mark.parametrize("use_crop_cache", [True, False])
def test_batches_are_pairs_of_floats(own_game: Game, use_crop_cache: bool) -> None:
    settings = SMALL | {"use_crop_cache": use_crop_cache, "num_workers": 1, "val_unknown": True}
    plain = PlayerReIDDataModuleCV(own_game.train_meta, own_game.img_root, **settings)
    plain.setup()
    rows = game_module(own_game, use_crop_cache=use_crop_cache, num_workers=1)
    for pair, batch in zip(plain.val_dataloader(), rows.val_dataloader(), strict=True):
        images, labels = pair
        assert images.dtype == torch.float32
        assert float(images.min()) >= 0 and 0.5 < float(images.max()) <= 1
        assert torch.equal(images, batch.images) and torch.equal(labels, batch.labels)
    for module in (plain, rows):
        module.teardown("fit")


def doubled(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) * 2.0


def test_a_transforms_own_images_are_left_as_they_are(own_game: Game) -> None:
    module = game_module(own_game, val_transform=doubled, num_workers=0)
    assert next(iter(module.val_dataloader())).images.max() > 2


# -- the order that splits go through ----------------------------------------------------------


def by_the_rule(csv: Path, labels: list[int], ratio: float, seed: int) -> set[int]:
    """Lines of the csv that are trained on, computed as the rule is written."""
    lines: dict[int, list[int]] = {}
    for line, row in enumerate(csv.read_text().splitlines()[1:]):
        lines.setdefault(int(row.split(",")[-1]), []).append(line)
    rng, train = random.Random(seed), set()
    for label, found in lines.items():
        if label in labels:
            rng.shuffle(found)
            train |= set(found[: int(len(found) * ratio)])
    return train


@pytest.mark.parametrize("use_crop_cache", [True, False])
@pytest.mark.parametrize("change", ["as it is", "frames cross 100", "lines shuffled"])
def test_splits_go_through_the_csv_in_its_own_order(
    own_game: Game, change: str, use_crop_cache: bool
) -> None:
    head, *rows = own_game.train_meta.read_text().splitlines()
    if change == "frames cross 100":
        for image in list(own_game.img_root.iterdir()):
            stem, number = image.stem.rsplit("__", 1)
            image.rename(image.with_name(f"{stem}__{int(number) + 97:02d}{image.suffix}"))
        cells = [row.split(",") for row in rows]
        rows = [",".join([*c[:3], str(int(c[3]) + 97), *c[4:]]) for c in cells]
    if change == "lines shuffled":
        random.Random(5).shuffle(rows)
    own_game.train_meta.write_text("\n".join([head, *rows]) + "\n")
    module = game_module(own_game, bbox_mode="keep", use_crop_cache=use_crop_cache)
    seen: dict[str, int] = {}
    place: dict[str, int] = {}  # id -> line
    for line, row in enumerate(rows):
        quarter, angle, session, frame = row.split(",")[:4]
        key = f"{quarter}__{angle}__{int(session):02d}__{int(frame):02d}"
        seen[key] = seen.get(key, -1) + 1
        place[f"{key}#{seen[key]:03d}"] = line
    train = {place[module.samples.ids[row]] for row in module.split["train"].tolist()}
    assert train == by_the_rule(own_game.train_meta, module.split.labels, 0.8, 42)


# -- a fold that was kept ----------------------------------------------------------------------


def test_a_saved_fold_is_used_again(own_game: Game, tmp_path: Path) -> None:
    first = game_module(own_game, fold_idx=2)
    first.save_split(tmp_path / "split.csv")
    again = game_module(own_game, saved_split=tmp_path / "split.csv")
    for part in ("train", "val", "unknown"):
        assert np.array_equal(first.split[part], again.split[part])
    assert again.split.labels == first.split.labels
    predicted, validated = again.predict_dataloader(), first.val_dataloader()
    assert torch.equal(joined(predicted).rows, joined(validated).rows)


# -- rows that cannot be used ------------------------------------------------------------------


@pytest.mark.parametrize("use_crop_cache", [True, False])
def test_rows_that_are_left_out_are_told(own_game: Game, use_crop_cache: bool) -> None:
    lines = own_game.train_meta.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([*cells[:6], "0", *cells[7:]])
    own_game.train_meta.write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="1 of .* rows cannot be used and are left out.*line 2"):
        game_module(own_game, use_crop_cache=use_crop_cache)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_workers": "2"}, "num_workers must be .* got '2'"),
        ({"batch_size": 2.5}, "batch_size must be .* got 2.5"),
        ({"engine": "foo"}, "engine must be .* got 'foo'"),
    ],
)
def test_settings_that_cannot_be_meant_are_told_at_once(
    settings: dict[str, Any], told: str, own_game: Game
) -> None:
    with pytest.raises(UsageError, match=told):
        PlayerReIDDataModuleCV(own_game.train_meta, own_game.img_root, **settings)
