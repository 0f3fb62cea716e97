"""What first guesses at a dataset mean: names of torchvision, Hugging Face and torchreid.

Those that work are in the table of docs/faq.md.
"""

from __future__ import annotations

from lmdb_reid._names import Guesses

_SELECT = 'Use dataset.select("label == 3"), or a mask or positions.'
_QUERY = "Use rows=, such as \"kind == 'person' and label >= 0\"."

DATASET = Guesses(
    works={
        "id": lambda dataset: lambda position: dataset.store.ids[int(dataset.rows[position])],
        "show": lambda dataset: (
            lambda *positions: dataset.store.sheet(
                dataset.rows[list(positions or range(min(48, len(dataset))))]
            )
        ),
        "to_pandas": lambda dataset: lambda: dataset.store.to_pandas().iloc[dataset.rows],
    },
    answers={
        "camids": 'Use ReIDDataset(store, columns=["camera"]).columns["camera"].',
        "class_names": "Use dataset.classes.",
        "column_names": "Use list(dataset.store.columns).",
        "data": "Use dataset[i], or make_loader(dataset).",
        "features": "Use dataset.store.columns for columns, dataset.size for the images.",
        "filter": _SELECT,
        "imgs": "Use dataset.ids and dataset.labels.",
        "map": "Use dataset.with_transform(function).",
        "pids": "Use dataset.labels.",
        "query": _SELECT,
        "random_split": "Use dataset.split(0.8).",
        "samples": "Use dataset.ids and dataset.labels.",
        "shuffle": "Use make_loader(dataset, shuffle=True).",
        "subset": _SELECT,
        "train_test_split": "Use train, test = dataset.split(0.8).",
        "with_format": "Items are tensors; use make_loader(dataset, dtype=...).",
        "y": "Use dataset.labels.",
    },
)
RENAMED = {
    "image_size": "size",
    "query": "rows",
}
"""Arguments of ReIDDataset under other libraries' names, each with ours."""
ARGUMENTS = {
    "augment": "Use make_loader(dataset, augment=...).",
    "batch_size": "Use make_loader(dataset, batch_size=...).",
    "identities": _QUERY,
    "img_size": "Use size=, (height, width) or one number.",
    "indices": "Use rows=.",
    "kind": "Use rows=\"kind == 'person'\".",
    "kinds": "Use rows=\"kind == 'person'\".",
    "label": 'Use rows="label == 3".',
    "mask": "Use rows=, which also takes a mask.",
    "num_workers": "Use make_loader(dataset, num_workers=...).",
    "relabel": 'Use labels="relabel".',
    "root": "Use store=, a store or its path.",
    "shuffle": "Use make_loader(dataset, shuffle=True).",
    "split": "Use rows=\"split == 'train'\" if the store has that column, or dataset.split(0.8).",
    "target_transform": "Use labels=, one label for each row.",
    "train": "Use rows=\"split == 'train'\" if the store has that column, or dataset.split(0.8).",
    "transforms": "Use transform=.",
}
"""Arguments that it does not have, and what to write."""
SPLIT = {"ratio": "share", "random_state": "seed"}
"""Keywords of `split` in other libraries, and ours."""
SPLIT_ANSWERS = {
    "frac": "Use share=, such as 0.8.",
    "test_size": "Use share=, the share of the first part.",
    "train_size": "Use share=, such as 0.8.",
}
"""Keywords of `split` in other libraries, and what to write."""
