# A notebook kept as text: Jupyter opens it with jupytext, VS Code and PyCharm as it is.
# ruff: noqa: B018, D100 - a cell shows what its last expression gives; the first is the title

# %% [markdown]
# # Looking around a store
#
# The store that `make demo` builds: ten drawn players, two cameras, four quarters. Set
# `LMDB_REID_DEMO_STORE` to look into another demo's store.

# %%
import os
from pathlib import Path

import numpy as np

from lmdb_reid import Kind, ReIDDataset, Store, make_loader

root = Path() if Path("notebooks").is_dir() else Path("..")  # Jupyter starts in notebooks/
store_path = os.environ.get("LMDB_REID_DEMO_STORE", root / "data/demo/demo.lmdb")

store = Store(store_path)
store

# %% [markdown]
# ## One sample
#
# Its id is the frame's name and the number of its box. The picture is decoded when it is asked for;
# `sample.jpeg` holds the stored bytes, `sample.image` the pixels.

# %%
sample = store["Q1-000__side__00__01#003"]
sample

# %%
sample.record

# %%
sample.image.shape, len(sample.jpeg)

# %% [markdown]
# ## All of them, as a table
#
# A row of the table is a row of the store: what `query` gives, `sheet` and `ReIDDataset` take.

# %%
frame = store.to_pandas()
frame.head()

# %%
players = frame[frame.kind == Kind.PERSON]
players.groupby(["label", "angle"], observed=True)[["w", "h"]].mean().round(1)

# %%
rows = store.query("label == 3 and angle == 'side'")
len(rows)

# %%
store.sheet(rows[:24])

# %% [markdown]
# The negatives: background holds no player, partial ones a part of one. Both have the label -1.

# %%
negatives = np.concatenate([store.query("kind == 1")[:6], store.query("kind == 2")[:6]])
store.sheet(negatives, columns=6)

# %% [markdown]
# ## Columns
#
# Each is an array in a file of its own, mapped into memory: looking at one reads no picture.

# %%
labels, kinds = store.columns["label"], store.columns["kind"]
np.bincount(labels[kinds == Kind.PERSON])

# %%
store.columns.categories("quarter")

# %% [markdown]
# ## A batch
#
# Images are uint8 `[B, 3, H, W]`; `rows` says where in the store each of them is from.

# %%
dataset = ReIDDataset(store, store.query("kind == 0"), labels="relabel")
with make_loader(dataset, batch_size=24, shuffle=True, seed=7, num_workers=2) as loader:
    batch = next(iter(loader))
batch.images.shape, batch.images.dtype

# %%
batch.sheet()

# %% [markdown]
# ## Is it still what was written?

# %%
store.verify(deep=True)
