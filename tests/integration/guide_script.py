"""A training script as a user of the performance guide has it. Only its import lines were changed;
what each was stands beside it.

It runs in a folder with inputs/atmaCup22_2nd_meta/train_meta.csv, inputs/images and, made once
before, inputs/train_negatives.csv.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from builders.negatives import load_negatives_from_csv  # from src.utils.utils
from lmdb_reid import CroppedBBoxDataset  # from src.data.dataset
from training.data import PlayerReIDDataModule, PlayerReIDDataModuleCV  # from src.data.datamodule
from training.pairs import MultiViewPlayerReIDDataset  # from src.data.dataset
from training.runtime import PlayerReIDDataset  # from src.data.dataset
from training.splits import build_open_set_splits, build_open_set_splits_cv  # from src.inference

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


if __name__ == "__main__":
    known, facts = splits()
    facts["run_time_cropping"] = run_time_cropping(known)
    facts["both_views"] = both_views(known)
    facts["cropped_files"] = cropped_files(known)
    facts["data_modules"] = data_modules()
    print(json.dumps(facts))
