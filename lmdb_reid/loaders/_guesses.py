"""What first guesses at loaders mean: names of torch, timm, Hugging Face, FFCV and Lightning.

Those that work are in the table of docs/faq.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never

from lmdb_reid._names import Guesses, guessed
from lmdb_reid.errors import UnsupportedError

BATCH = Guesses(
    works={},
    answers={
        "image": "Use batch.images.",
        "img": "Use batch.images.",
        "items": "Use images, labels, rows = batch, and batch.columns.",
        "keys": "Use batch.images, batch.labels, batch.rows, and batch.columns by name.",
        "label": "Use batch.labels.",
        "paths": "Use batch.ids.",
        "pids": "Use batch.labels.",
        "shape": "Use batch.images.shape.",
        "size": "Use batch.images.shape.",
        "target": "Use batch.labels.",
        "targets": "Use batch.labels.",
        "values": "Use images, labels, rows = batch, and batch.columns.",
        "x": "Use batch.images.",
        "y": "Use batch.labels.",
    },
)
LOADER = Guesses(
    works={},
    answers={
        "collate_fn": "Batches are made whole; the dataset's transform= is called with each image.",
        "explain": "Use print(loader.plan()).",
        "generator": "The order depends on seed= and the epoch alone; use loader.set_epoch(n).",
        "num_workers": "Use loader.plan().num_workers.",
        "sampler": "Use make_loader(dataset, sampler=...); loader.batch_sampler is Lightning's.",
        "show": "Use next(iter(loader)).show().",
        "shuffle": "Use make_loader(dataset, shuffle=True).",
        "steps": "Use len(loader).",
        "summary": "Use print(loader.plan()) before, loader.stats() after.",
    },
)
RENAMED = {
    "batch_sampler": "sampler",
}
"""Arguments of make_loader under other names, each with ours."""
ARGUMENTS = {
    "bs": "Use batch_size=.",
    "cache": "Use ReIDDataset(store, cache=...).",
    "collate_fn": "Batches are made whole: use ReIDDataset(store, transform=...) for each image,"
    " or batch_transform= for a batch.",
    "columns": "Use ReIDDataset(store, columns=[...]).",
    "ds": "Use dataset=, or put it first.",
    "generator": "Use seed=: the order depends on it and the epoch alone.",
    "mean": 'Use normalize=(mean, std), or normalize="imagenet".',
    "multiprocessing_context": "Use start_method=.",
    "prefetch_factor": "Use prefetch=, which counts the batches ahead of all workers together.",
    "size": "Use ReIDDataset(store, size=...).",
    "std": 'Use normalize=(mean, std), or normalize="imagenet".',
    "timeout": "A worker that ends raises WorkerDiedError at once: leave it out.",
    "transform": "Use ReIDDataset(store, transform=...), or augment= for a training recipe.",
    "transforms": "Use augment= for a training recipe, or ReIDDataset(store, transform=...).",
    "worker_init_fn": "Workers need none: transforms are seeded for each sample.",
    "workers": "Use num_workers=.",
}
"""Arguments that make_loader does not have, and what to write."""


class LoaderGuesses:
    """What a Loader says of what it cannot do."""

    if not TYPE_CHECKING:  # or type checkers would take every name, and next() of a loader

        def __next__(self) -> Never:
            raise UnsupportedError(
                "a loader starts a new pass for each iter(): use `for batch in loader`, or"
                " next(iter(loader)) for one batch."
            )

        def __getitem__(self, place: Any) -> Never:
            raise UnsupportedError(
                f"a loader is read in its order, got loader[{place!r}]. Use next(iter(loader)) for"
                " a batch, dataset[i] for an item."
            )

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, LOADER)
