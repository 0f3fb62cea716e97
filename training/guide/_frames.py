"""Boxes cut from their frames as they are asked for, instead of a store's samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from builders import BuildSettings, Source
from builders.cutting import cuts_of
from builders.job import job_of
from builders.media import frame_sizes
from builders.report import accept_skipped
from builders.samples import BoxSample, samples_of
from builders.settings import worker_count
from builders.sources import Rejected
from lmdb_reid import codec
from lmdb_reid.crops import check_read
from lmdb_reid.dataset import Selection, Transform, sample_transform
from lmdb_reid.errors import CorruptSampleError, ImageError
from lmdb_reid.schema import Kind, Pixels, Rows, Size
from training.guide._crops import BoxSamples
from training.guide._dataset import PlayerReIDDataset


class FrameSamples(BoxSamples):
    """The samples that a build of `source` would store, negatives too, none of them cut yet.

    Args:
        source: frames and their boxes, in the atmaCup layout.
        settings: the size, and how much boxes of persons are grown.
    """

    def __init__(self, source: Source, settings: BuildSettings) -> None:
        job = job_of(source, settings)
        listing, medium = job.listing, job.listing.medium
        samples: list[BoxSample] = []
        orders: list[int] = []
        skipped: list[Rejected] = []
        sizes = frame_sizes(medium, listing.frames.keys, worker_count(None))
        for frame, size in zip(listing.frames, sizes, strict=True):
            name = medium.name(frame.key)
            if isinstance(size, str):
                skipped += [Rejected(row.where or name, frame.key, size) for row in frame.rows]
                continue
            (negatives,) = job.negatives([frame], [size])
            cuts, nowhere = cuts_of(frame, size, negatives, expand=settings.expand, name=name)
            skipped += nowhere
            boxed = [(one, one.box) for one in cuts if one.box is not None]
            orders += [one.order for one, _ in boxed]
            samples += samples_of(
                frame,
                medium,
                [
                    (box, one.record["label"], Kind(one.record["kind"]), one.id)
                    for one, box in boxed
                ],
            )
        accept_skipped([*listing.skipped, *skipped], listing.rows)
        by_id = sorted(range(len(samples)), key=lambda at: samples[at].id.encode())
        samples = [samples[at] for at in by_id]
        order = np.array(orders, np.int64)[by_id]
        super().__init__(
            [sample.id for sample in samples],
            samples,
            np.lexsort([order, order < 0]).astype(np.int64),
        )
        self._settings = settings

    def select(self, rows: Rows, labels: Rows, transform: Transform | None) -> Selection:
        """See `Samples`."""
        crops = FrameCrops([self.boxes[row] for row in rows.tolist()], self._settings)
        return Selection(
            crops=crops, labels=labels, rows=rows, transform=sample_transform(transform)
        )

    def __repr__(self) -> str:
        return f"FrameSamples({len(self.boxes):,} boxes)"


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
