"""What a data module shows: the samples of a store, or boxes cut from their frames as they are
asked for, under the same ids, labels and rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builders import AtmaCup, BuildSettings
from builders.negatives import list_negatives, made_negatives
from builders.pipeline import outside
from builders.samples import BoxSample, box_samples, sample_id
from builders.sizes import frame_sizes
from builders.sources import LeftOut, Listing
from builders.workers import checked_workers
from lmdb_reid import codec
from lmdb_reid.crops import check_read
from lmdb_reid.dataset import ReIDDataset, Selection, Transform, sample_transform
from lmdb_reid.errors import CorruptSampleError, ImageError
from lmdb_reid.schema import Box, Pixels, Rows, Size
from lmdb_reid.store import Store
from training.runtime import PlayerReIDDataset
from training.stores import accept_skipped, source_order

_ANGLE = "angle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Samples before any is chosen; row i is the i-th id in sorted order."""

    ids: Sequence[str]
    labels: Rows
    """int64 [N]"""
    kinds: npt.NDArray[np.uint8]
    """[N], see `lmdb_reid.schema.Kind`."""
    angles: npt.NDArray[np.str_] | None
    """[N], the camera's name; None where the source has none."""
    order: Rows
    """All rows, int64 [N], as the csv has them: splits go through samples in this order."""
    dataset: Callable[[Rows, Rows, Transform | None], ReIDDataset | Selection]
    """(rows, their labels, transform) -> what a loader reads."""


def stored(store: Store, size: Size | None, listing: Listing | None = None) -> Pictures:
    """The samples of a store, as images of `size`, (height, width); None is the store's own.

    Their order is that of the listing's csv; without one, that of a csv sorted by frame.
    """
    columns = store.columns

    def dataset(rows: Rows, labels: Rows, transform: Transform | None) -> ReIDDataset:
        return ReIDDataset(store, rows, size=size, labels=labels, transform=transform)

    angles = columns.categories(_ANGLE) if _ANGLE in columns else None
    return Pictures(
        ids=store.ids,
        labels=columns["label"],
        kinds=columns["kind"],
        angles=None if angles is None else np.array([*angles, ""])[columns[_ANGLE]],
        order=source_order(store) if listing is None else _listed_order(listing, store.ids),
        dataset=dataset,
    )


def cut_at_run_time(source: AtmaCup, settings: BuildSettings) -> Pictures:
    """The samples that a build of `source` would store, negatives too, none of them cut yet."""
    listing = source.read()
    sizes = {
        str(frame.path): size
        for frame, size in zip(
            listing.frames, frame_sizes(listing.frames, checked_workers(None)), strict=True
        )
    }
    negatives, unread = list_negatives(listing, made_negatives(settings))
    nowhere = [
        LeftOut(row.line, frame.key, outside(row.box, size))
        for frame in listing.frames
        for row in frame.rows
        if row.box is not None
        and not isinstance(size := sizes[str(frame.path)], str)
        and row.box.clipped(size).area <= 0
    ]
    accept_skipped([*listing.skipped, *unread, *nowhere], listing.rows)
    samples = [sample for sample in box_samples(listing) if _can_be_cut(sample, sizes)]
    samples = sorted([*samples, *negatives], key=lambda sample: sample.id.encode())

    def dataset(rows: Rows, labels: Rows, transform: Transform | None) -> Selection:
        crops = FrameCrops([samples[row] for row in rows.tolist()], settings)
        transform_of_one = sample_transform(transform)
        return Selection(crops=crops, labels=labels, rows=rows, transform=transform_of_one)

    ids = [sample.id for sample in samples]
    return Pictures(
        ids=ids,
        labels=np.array([sample.label_id for sample in samples], np.int64),
        kinds=np.array([sample.kind for sample in samples], np.uint8),
        angles=np.array([sample.angle for sample in samples]),
        order=_listed_order(listing, ids),
        dataset=dataset,
    )


def _listed_order(listing: Listing, ids: Sequence[str]) -> Rows:
    """Rows of these ids in the order of the csv's lines; those that stand on none come last."""
    lines = {sample_id(frame, row): row.line for frame in listing.frames for row in frame.rows}
    last = 1 + max(lines.values(), default=0)
    return np.argsort([lines.get(each, last) for each in ids], kind="stable").astype(np.int64)


def _can_be_cut(sample: BoxSample, sizes: Mapping[str, Size | str]) -> bool:
    """Whether the sample's frame can be read and the box has a part in it."""
    size = sizes[str(sample.img_path)]
    box = Box(sample.x, sample.y, sample.w, sample.h)
    return not isinstance(size, str) and box.clipped(size).area > 0


class FrameCrops:
    """Boxes cut and resized whenever they are asked for: each decodes a whole frame; see
    `lmdb_reid.crops.Crops`.

    Args:
        samples: the boxes and their frames.
        settings: the size, and how much boxes of persons are grown.
    """

    def __init__(self, samples: Sequence[BoxSample], settings: BuildSettings) -> None:
        assert settings.size is not None  # a batch has one size
        self._size = settings.size
        self._samples = samples
        self._crops = PlayerReIDDataset(samples, None, settings.expand, use_cache=False)

    @property
    def size(self) -> Size:
        """See `Crops`."""
        return self._size

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        """See `Crops`.

        Raises:
            SourceNotFoundError: a frame is not there.
            CorruptSampleError: a frame cannot be decoded, and `damaged` is None.
        """
        check_read(self, positions, out)
        for slot, position in enumerate(positions.tolist()):
            try:
                pixels, _ = self._crops[position]
            except ImageError as error:
                if damaged is None:
                    name = self._samples[position].id
                    raise CorruptSampleError(f"{name}: {error}", ids=(name,)) from None
                damaged.append(slot)
            else:
                codec.resize(pixels.permute(1, 2, 0).numpy(), self._size, out[slot])

    def names(self, positions: Rows) -> list[str]:
        """See `Crops`: the sample ids."""
        return [self._samples[position].id for position in positions.tolist()]

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Crops`: "label" alone."""
        if name != "label":
            return None
        return np.array([sample.label_id for sample in self._samples], np.int64)
