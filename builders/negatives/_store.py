"""A store's negatives as samples: the way back from a store to the csv."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.samples import FRAME_FIELDS, BoxSample, whole
from builders.sources._atmacup_pictures import images_by_stem
from lmdb_reid.errors import SourceError, SourceNotFoundError, UsageError
from lmdb_reid.schema import NO_LABEL, Box, Kind
from lmdb_reid.store import Store

_KINDS = (Kind.BACKGROUND, Kind.PARTIAL)


def store_negatives(
    store: Store, img_root: str | os.PathLike[str] | None = None
) -> list[BoxSample]:
    """The background and partial negatives of a store, in row order; no image is read.

    Args:
        store: one built from the atmaCup layout.
        img_root: the folder of its frames; unless given, where they were when it was built.

    Raises:
        UsageError: the store does not name frames and boxes as the atmaCup layout does, or not
            the folder of its frames.
        SourceNotFoundError: no such folder, or a frame is not in it.
        SourceError: a negative lacks its frame or box.
    """
    rows = np.flatnonzero(np.isin(store.columns["kind"], _KINDS))
    names = (*FRAME_FIELDS, *Box._fields)
    columns = [_column(store, name, rows) for name in names]
    folder, images = _frames(store, img_root)
    samples = []
    for row, *cells in zip(rows.tolist(), *columns, strict=True):
        sample_id: str = store.ids[row]
        key = sample_id.rpartition("#")[0]
        if key not in images:
            raise SourceNotFoundError(
                f"the frame {key} of {store.path} is not in {folder}: --img-root names the folder"
            )
        samples.append(
            BoxSample(
                **dict(zip(names, cells, strict=True)),
                label_id=NO_LABEL,
                img_path=str(folder / images[key]),
                kind=Kind(store.columns["kind"].item(row)),
                id=sample_id,
            )
        )
    return samples


def _frames(store: Store, img_root: str | os.PathLike[str] | None) -> tuple[Path, dict[str, str]]:
    """The folder of the frames, and each image's name by its stem."""
    folder = img_root or store.manifest.source.get("img_root")
    if folder is None:
        raise UsageError(f"{store.path} does not say where its frames are. Use --img-root DIR")
    return Path(folder), images_by_stem(Path(folder))


def _column(store: Store, name: str, rows: npt.NDArray[np.int64]) -> list[Any]:
    """The cells of a column at `rows`; whole numbers as int."""
    if name not in store.columns:
        raise UsageError(
            f"{store.path} has no column {name!r}: only stores of the atmacup layout have what the"
            " negatives csv needs"
        )
    values, categories = store.columns[name][rows], store.columns.categories(name)
    missing = np.isnan(values) if categories is None else values < 0
    if missing.any():
        sample_id = store.ids[int(rows[np.argmax(missing)])]
        raise SourceError(f"{sample_id} of {store.path} has no {name}")
    if categories is None:
        return [whole(value) for value in values.tolist()]
    return [categories[code] for code in values.tolist()]
