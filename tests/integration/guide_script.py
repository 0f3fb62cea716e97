"""A training script as a user of the performance guide has it. Only its import lines were changed;
what each was stands beside it.

It runs in a folder with inputs/atmaCup22_2nd_meta/train_meta.csv, inputs/images and, made once
before, inputs/train_negatives.csv.
"""

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lmdb_reid import CroppedBBoxDataset  # from src.data.dataset
from training import (  # from src.data, src.utils and src.inference
    MultiViewPlayerReIDDataset,
    PlayerReIDDataModule,
    PlayerReIDDataModuleCV,
    PlayerReIDDataset,
    build_multiview_pairs,
    build_open_set_splits,
    build_open_set_splits_cv,
    build_tracks,
    clean_tracks,
    generate_background_negatives,
    generate_partial_negatives,
    get_cache_stats,
    iou_bbox,
    load_fold_metadata,
    load_negatives_from_csv,
    load_train_meta,
    make_label_folds,
    prepare_cropped_cache,
)

META = "inputs/atmaCup22_2nd_meta/train_meta.csv"
IMAGES = "inputs/images"
NEGATIVES = "inputs/train_negatives.csv"


def transform(image):
    """What T.Compose([T.Resize((64, 32)), T.ToTensor()]) does."""
    pixels = np.array(image.resize((32, 64), Image.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def described(batches):
    """Shape and type of the images of an epoch, and its labels."""
    images, labels = zip(*((batch[0], batch[1]) for batch in batches), strict=True)
    return {
        "batches": len(images),
        "shape": list(images[0].shape[1:]),
        "dtype": str(images[0].dtype),
        "labels": sorted(torch.cat(labels).tolist()),
        "label_dtype": str(labels[0].dtype),
    }


def splits():
    negatives = load_negatives_from_csv("inputs/train_negatives.csv")
    known, unknown, known_labels, unknown_labels = build_open_set_splits_cv(
        train_meta_path="inputs/atmaCup22_2nd_meta/train_meta.csv",
        img_root="inputs/images",
        bbox_mode="drop",
        n_folds=5,
        fold_idx=0,
        use_precomputed_negatives=True,  # Load from CSV (fast!)
        neg_csv_path="inputs/train_negatives.csv",
    )
    plain = build_open_set_splits(
        train_meta_path=META,
        img_root=IMAGES,
        bbox_mode="drop",
        unknown_ratio=0.2,
        add_bg_negatives=True,
        add_partial_negatives=False,
        use_precomputed_negatives=False,
    )
    facts = {
        "negatives": len(negatives),
        "negative_labels": sorted({sample.label_id for sample in negatives}),
        "known": len(known),
        "unknown": len(unknown),
        "known_labels": sorted(known_labels),
        "unknown_labels": sorted(unknown_labels),
        "labels_of_known": sorted({sample.label_id for sample in known}),
        "plain": [len(part) for part in plain],
    }
    return known, facts


def run_time_cropping(known):
    dataset = PlayerReIDDataset(known, transform=transform, expand_ratio=1.2, use_cache=True)
    loader = DataLoader(
        dataset, batch_size=16, num_workers=2, persistent_workers=True, prefetch_factor=2
    )
    return described(loader)


def both_views(known):
    tops = {
        (sample.quarter, sample.session, sample.frame, sample.label_id): sample
        for sample in known
        if sample.angle == "top"
    }
    sides = [sample for sample in known if sample.angle == "side"]
    keys = [(side.quarter, side.session, side.frame, side.label_id) for side in sides]
    pairs = [(side, tops[key]) for side, key in zip(sides, keys, strict=True) if key in tops]
    dataset = MultiViewPlayerReIDDataset(pairs, transform=transform, expand_ratio=1.2)
    side, top, label = next(iter(DataLoader(dataset, batch_size=4)))
    return {
        "pairs": len(dataset),
        "shapes": [list(side.shape), list(top.shape)],
        "labels": label.tolist(),
    }


def cropped_files(known):
    list_of_cropped_image_paths, corresponding_labels = [], []
    Path("inputs/crops").mkdir(exist_ok=True)
    for number, sample in enumerate(known[:24]):
        path = f"inputs/crops/{number:05d}.jpg"
        with Image.open(sample.img_path) as frame:
            box = (sample.x, sample.y, sample.x + sample.w, sample.y + sample.h)
            frame.crop(box).save(path, quality=95)
        list_of_cropped_image_paths.append(path)
        corresponding_labels.append(sample.label_id)
    dataset = CroppedBBoxDataset(
        img_paths=list_of_cropped_image_paths,
        labels=corresponding_labels,
        transform=transform,
        use_cache=True,  # Enable LRU cache
        cache_size=10000,  # Cache up to 10k images in memory
    )
    loader = DataLoader(dataset, batch_size=8, shuffle=True)
    facts = described(loader)
    described(loader)  # a second epoch: from the cache
    return facts | {"cache": dataset.cache.stats()}


def data_modules():
    datamodule = PlayerReIDDataModule(
        train_meta_path=META,
        img_root=IMAGES,
        batch_size=16,
        num_workers=2,
        train_ratio=0.8,
        bbox_mode="drop",
        area_multiplier=2.0,
        image_size=64,
        use_crop_cache=True,
        cache_dir="inputs/cache",
        expand_ratio=1.2,
    )
    folds = PlayerReIDDataModuleCV(
        train_meta_path=META,
        img_root=IMAGES,
        batch_size=16,
        num_workers=2,  # Increase from 4 (adjust based on your CPU cores)
        train_ratio=0.8,
        bbox_mode="drop",
        image_size=64,
        use_crop_cache=True,
        n_folds=5,
        fold_idx=0,
        unknown_per_fold=2,
        cv_seed=42,
    )
    facts = {}
    for name, module in (("plain", datamodule), ("cv", folds)):
        start = time.time()
        module.prepare_data()
        module.setup("fit")
        dataloader = module.train_dataloader()
        for epoch in range(2):
            model = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.Flatten(), torch.nn.LazyLinear(11)
            )
            for batch in dataloader:
                batch_start = time.time()
                images, labels = batch
                torch.nn.functional.cross_entropy(model(images), labels).backward()
                print(f"Batch time: {time.time() - batch_start:.3f}s")
            print(f"Epoch {epoch} time: {time.time() - start:.2f}s")
        facts[name] = {
            "train": described(dataloader),
            "val": described(module.val_dataloader()),
        }
        module.teardown("fit")
    return facts


class Model(pl.LightningModule):
    """As the published module is: an identity loss over embeddings, one_hot of every label."""

    def __init__(self, num_classes):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 7, stride=8), torch.nn.Flatten(), torch.nn.LazyLinear(num_classes)
        )
        self.net(torch.zeros(1, 3, 64, 64))

    def training_step(self, batch, batch_idx):
        imgs, labels = batch
        loss = torch.nn.functional.cross_entropy(self.net(imgs), labels)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        imgs, labels = batch
        logits = self.net(imgs)
        one_hot = torch.nn.functional.one_hot(labels, num_classes=self.hparams.num_classes)
        loss = -(one_hot * logits.log_softmax(1)).sum(1).mean()
        self.log("val/loss", loss, on_epoch=True)
        return {"val_loss": loss}

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Transforms:
    """What T.Compose([T.Resize((64, 64)), T.RandomHorizontalFlip(), T.ToTensor()]) does."""

    def __init__(self, is_train):
        self.is_train = is_train

    def __call__(self, image):
        resized = image.resize((64, 64))
        if self.is_train and torch.rand(()) < 0.5:
            resized = resized.transpose(Image.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255


class Augmented(PlayerReIDDataModuleCV):
    def _build_transforms(self, is_train=True):
        return Transforms(is_train)


def trained():
    """What the published training script does, stage 1, with cached crops as img_root."""
    logger = logging.getLogger("train")
    crops = "inputs/train_crops_cache"
    cleaned = clean_tracks(build_tracks(load_train_meta(META, IMAGES)), mode="drop")
    prepare_cropped_cache(cleaned, crops, expand_ratio=1.2, quality=95)
    facts = {"cache": get_cache_stats(crops)}
    for fold_idx in range(2):
        dm = Augmented(
            train_meta_path=META,
            img_root=crops,
            batch_size=16,
            num_workers=1,
            train_ratio=0.8,
            bbox_mode="drop",
            image_size=64,
            n_folds=5,
            fold_idx=fold_idx,
            unknown_per_fold=2,
            cv_seed=42,
            logger=logger,
        )
        dm.setup()
        model = Model(num_classes=dm.num_classes)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            logger=False,
            log_every_n_steps=1,
            accumulate_grad_batches=2,
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
        trainer.fit(model, datamodule=dm)
        facts[f"fold {fold_idx}"] = {
            "num_classes": dm.num_classes,
            "train_samples": len(dm.train_samples),
            "val_samples": len(dm.val_samples),
            "val_labels": sorted({sample.label_id for sample in dm.val_samples}),
            "unknown": dm.unknown_labels_this_fold,
            "batches": trainer.num_training_batches,
            "val_loss": float(trainer.callback_metrics["val/loss"]),
        }
    return facts


def inferred():
    """What the published inference script does before its model comes in."""
    known, unknown, known_labels, unknown_labels = build_open_set_splits_cv(
        train_meta_path=META,
        fold_idx=0,
        fold_meta_dir="outputs/fold_metadata",
        neg_csv_path=NEGATIVES,
        add_negatives=True,
    )
    train, val, held_out = load_fold_metadata(0, "outputs/fold_metadata")
    folds = make_label_folds(sorted({*known_labels, *unknown_labels}), 5, 2, seed=42)
    return {
        "known": len(known),
        "saved": [len(train), len(val), held_out],
        "unknown": len(unknown),
        "unknown_labels": unknown_labels,
        "folds": folds[0],
        "pairs": len(build_multiview_pairs(known)),
        "iou": iou_bbox(known[0], known[0]),
        "backgrounds": len(generate_background_negatives(known, num_bg_per_frame=1)),
        "partials": len(generate_partial_negatives(known, num_partial_per_box=1)),
    }


if __name__ == "__main__":
    known, facts = splits()
    facts["run_time_cropping"] = run_time_cropping(known)
    facts["both_views"] = both_views(known)
    facts["cropped_files"] = cropped_files(known)
    facts["data_modules"] = data_modules()
    facts["trained"] = trained()
    facts["inferred"] = inferred()
    print(json.dumps(facts))
