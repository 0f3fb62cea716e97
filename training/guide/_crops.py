"""The guide's folder of cached crops: written, recognised and read."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.samples import BoxSample
from lmdb_reid import _disk
from lmdb_reid._arguments import known_arguments
from lmdb_reid.crops import FileCrops
from lmdb_reid.dataset import Selection, Transform, sample_transform
from lmdb_reid.errors import SourceNotFoundError, WriteError
from lmdb_reid.schema import Rows, Size
from training.guide._dataset import cut, is_cached_crop
from training.guide._tracks import Place

_COLUMNS = ("quarter", "angle", "session", "frame", "x", "y", "w", "h")
_MB = 1024 * 1024


def crop_path(sample: BoxSample, cache_dir: Place, expand_ratio: float) -> Path:
    """Where the guide's code keeps a crop: QUARTER/ANGLE/MD5.jpg, of all that names the sample."""
    named = [*(getattr(sample, name) for name in _COLUMNS), sample.label_id, expand_ratio]
    digest = hashlib.md5("_".join(map(str, named)).encode(), usedforsecurity=False).hexdigest()
    return Path(cache_dir) / sample.quarter / sample.angle / f"{digest}.jpg"


def is_crop_cache(folder: Place) -> bool:
    """Whether a folder is one of the guide's cached crops."""
    crops = Path(folder).glob("*/*/*.jpg")
    first = next(crops, None)
    return first is not None and is_cached_crop(first.name)


@known_arguments()
def prepare_cropped_cache(
    samples: Sequence[BoxSample],
    cache_dir: Place,
    expand_ratio: float = 1.0,
    quality: int = 95,
    force_recrop: bool = False,
) -> list[BoxSample]:
    """Cut every sample that is not in the cache yet.

    A store is faster to make and to read: `lmdb-reid build`.

    Returns:
        The samples, in their order, each with its crop as `img_path`.

    Raises:
        SourceNotFoundError: a frame is not there.
        SourceError: a box lies outside its frame.
        ImageError: a frame cannot be decoded.
        WriteError: the folder cannot be written.
    """
    cached = []
    for sample in samples:
        path = crop_path(sample, cache_dir, expand_ratio)
        if force_recrop or not path.is_file():
            jpeg = io.BytesIO()
            cut(sample, expand_ratio).save(jpeg, "JPEG", quality=quality)
            try:
                _disk.make_folder(path.parent)
                _disk.write(path, jpeg.getvalue())
            except OSError as error:
                raise WriteError(f"{path} cannot be written: {error}", path=path) from None
        cached.append(dataclasses.replace(sample, img_path=os.fspath(path)))
    return cached


@known_arguments()
def get_cache_stats(cache_dir: Place) -> dict[str, Any]:
    """exists, num_files and total_size_mb of a cache."""
    folder = Path(cache_dir)
    if not folder.exists():
        return {"exists": False, "num_files": 0, "total_size_mb": 0}
    sizes = [path.stat().st_size for path in folder.rglob("*.jpg")]
    return {"exists": True, "num_files": len(sizes), "total_size_mb": sum(sizes) / _MB}


class BoxSamples:
    """Samples that are named one by one, under ids; see `training.data.Samples`.

    Args:
        ids: [N].
        boxes: [N].
        order: all rows, int64 [N], in the source's own order.
    """

    def __init__(self, ids: Sequence[str], boxes: Sequence[BoxSample], order: Rows) -> None:
        self.ids = ids
        self.boxes = boxes
        self.order = order
        self.column_names = ["label", "kind", *_COLUMNS]

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Samples`."""
        if name not in self.column_names:
            return None
        attribute = "label_id" if name == "label" else name
        return np.array([getattr(box, attribute) for box in self.boxes])


def _each_once(boxes: list[BoxSample]) -> list[BoxSample]:
    """The same without boxes that stand there a second time, as a build leaves them out."""
    named = {(*(getattr(box, name) for name in _COLUMNS), box.label_id): box for box in boxes[::-1]}
    if len(named) == len(boxes):
        return boxes
    once = {id(box) for box in named.values()}
    again = [box for box in boxes if id(box) not in once]
    warnings.warn(
        (
            f"{len(again):,} of {len(boxes):,} rows are left out: its frame has the"
            " same box with the same label already; the first,"
            f" {Path(again[0].img_path).name} x={again[0].x:g} y={again[0].y:g} of"
            f" label {again[0].label_id}"
        ),
        stacklevel=2,
    )
    return [box for box in boxes if id(box) in once]


class CropSamples(BoxSamples):
    """The crops of a cache, each a file.

    Args:
        samples: what the cache holds, in the source's own order.
        cache_dir: the folder.
        expand_ratio: what it was made with.
        size: (height, width) of the images.

    Raises:
        SourceNotFoundError: a crop is not there.
    """

    def __init__(
        self, samples: Iterable[BoxSample], cache_dir: Place, expand_ratio: float, size: Size
    ) -> None:
        boxes = _each_once(list(samples))
        paths = [crop_path(box, cache_dir, expand_ratio) for box in boxes]
        for box, path in zip(boxes, paths, strict=True):
            if not path.is_file():
                raise SourceNotFoundError(
                    (
                        f"{os.fspath(cache_dir)} holds cached crops, but not"
                        f" {Path(box.img_path).name} x={box.x:g} y={box.y:g} at"
                        f" expand_ratio={expand_ratio}. Pass img_root=, the folder of the frames"
                    ),
                    path=path,
                )
        boxes = [
            dataclasses.replace(box, img_path=os.fspath(path))
            for box, path in zip(boxes, paths, strict=True)
        ]
        ids = [f"{path.parent.parent.name}/{path.parent.name}/{path.stem}" for path in paths]
        super().__init__(ids, boxes, np.arange(len(boxes), dtype=np.int64))
        self._size = size

    def select(self, rows: Rows, labels: Rows, transform: Transform | None) -> Selection:
        """See `Samples`."""
        crops = FileCrops([self.boxes[row].img_path for row in rows.tolist()], self._size)
        return Selection(
            crops=crops, labels=labels, rows=rows, transform=sample_transform(transform)
        )

    def __repr__(self) -> str:
        return f"CropSamples({len(self.boxes):,} files)"
