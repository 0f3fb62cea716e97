"""What first guesses at a store mean: names of pandas, Hugging Face, torchvision, h5py and zarr.

Those that work are in the table of docs/faq.md.
"""

from __future__ import annotations

from lmdb_reid._names import Guesses

STORE = Guesses(
    works={
        "dataframe": lambda store: store.to_pandas,
        "df": lambda store: store.to_pandas(),
        "groupby": lambda store: store.to_pandas().groupby,
        "identities": lambda store: store.classes,
        "info": lambda store: store.describe,
        "metadata": lambda store: store.manifest,
        "random": lambda store: store.sample,
        "select": lambda store: store.__getitem__,
        "shape": lambda store: (len(store), *store.size, 3) if store.size else (len(store),),
        "show": lambda store: store.sheet,
        "table": lambda store: store.to_pandas,
        "timeline": lambda store: store.plot.timeline,
        "to_csv": lambda store: store.to_pandas().to_csv,
        "value_counts": lambda store: store.to_pandas().value_counts,
        "version": lambda store: store.manifest.version,
        "where": lambda store: store.query,
    },
    answers={
        "append": "A sealed store does not change; StoreWriter writes another.",
        "choice": "Use store.sample(n).",
        "dtype": "Images are uint8; store.columns prints the dtype of each column.",
        "export_images": "Use store.export(folder).",
        "filter": 'Use store.query("label == 3"), which returns rows, and store[rows].',
        "format": "Use store.manifest.version; docs/format.md is the specification.",
        "frame": "Use store.to_pandas().",
        "hist": "Use store.plot.identities() or store.plot.sizes().",
        "histogram": "Use store.plot.identities() or store.plot.sizes().",
        "images": "Use store[rows], whose samples have .image, or ReIDDataset(store).",
        "iloc": "Use store[3], or store.to_pandas().iloc.",
        "items_": "Use store.items().",
        "loc": "Use store['id'], or store.to_pandas().loc.",
        "map": "Use ReIDDataset(store, transform=...).",
        "num_classes": "Use store.num_identities.",
        "put": "A store is read-only; StoreWriter(path) writes one.",
        "random_sample": "Use store.sample(n).",
        "split": "Use ReIDDataset(store).split(0.8), or training.splits.",
        "stats": "Use store.describe().",
        "summary": "Use store.describe().",
        "tail": "Use store[-5:].",
        "targets": "Use store.labels.",
        "to_df": "Use store.to_pandas().",
        "to_folder": "Use store.export(folder).",
        "tracks": "Use store.plot.timeline(), or store.to_pandas().groupby(...).",
    },
)
CLASS = Guesses(
    works={},
    answers={
        "create": "Use StoreWriter(path), which writes a store.",
        "from_csv": "Use `lmdb-reid build --format csv`, or"
        " builders.build(builders.Csv(...), out).",
        "from_dataset": "Use StoreWriter(path), which writes a store.",
        "from_folder": "Use `lmdb-reid build --format folder --root DIR --out STORE`, or"
        " builders.build(builders.Folder(...), out).",
        "load": "Use Store(path).",
    },
)
"""Of the class itself."""
COUNT = {
    "count": "Use n=.",
    "k": "Use n=.",
    "random_state": "Use seed=.",
    "size": "Use n=.",
}
"""Arguments of `head` and `sample`."""
READ_ONLY = {
    "lock": "A store is always opened without locks.",
    "mode": "A store is always read-only; StoreWriter writes one.",
    "read_only": "A store is always read-only: leave it out.",
    "readonly": "A store is always read-only: leave it out.",
}
"""Arguments of `Store`."""
ROW_OF_SHEET = {"ncols": "columns", "nrow": "columns"}
"""Keywords of sheets in other libraries, and ours; torchvision's nrow is the length of a row."""
