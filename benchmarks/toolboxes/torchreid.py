"""torchreid 1.4.0: its loader of files, and the bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers import _torchvision  # noqa: F401  # makes torchvision importable
from benchmarks.toolboxes._job import Job, listed, run

import torchreid  # isort: skip  # after the above

from training.bridges.torchreid import TorchreidData


class Crops(torchreid.data.ImageDataset):  # type: ignore[misc]  # it ships no types
    """What torchreid's users write for files of their own."""

    def __init__(self, root: str = "", **settings: Any) -> None:
        parts = [listed(Path(root, part)) for part in ("train", "query", "gallery")]
        people = {pid: place for place, pid in enumerate(sorted({pid for _, pid, _ in parts[0]}))}
        train = [(file, people[pid], camera) for file, pid, camera in parts[0]]
        super().__init__(train, *parts[1:], **settings)


def manager(job: Job, transforms: list[str]) -> Any:
    """torchreid's own data manager over files."""
    torchreid.data.register_image_dataset("crops", Crops)
    return torchreid.data.ImageDataManager(
        root=job.files,
        sources="crops",
        height=job.size[0],
        width=job.size[1],
        transforms=transforms,
        use_gpu=False,
        batch_size_train=job.batch_size,
        batch_size_test=job.batch_size,
        workers=job.num_workers,
    )


def loaders(job: Job) -> tuple[Any, Any]:
    """Of training, flip, crop and erasing on, and of queries."""
    if job.way == "files":
        data = manager(job, ["random_flip", "random_crop", "random_erase"])
    else:
        data = TorchreidData(
            job.store,
            job.split,
            batch_size=job.batch_size,
            test_batch_size=job.batch_size,
            num_workers=job.num_workers,
            normalize=None if job.way == "store-uint8" else "imagenet",
        )
    return data.train_loader, data.test_loader[data.targets[0]]["query"]


if __name__ == "__main__":
    run(loaders, lambda batch: batch["img"])
