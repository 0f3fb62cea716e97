"""Samples of anything that gives pictures and labels, such as a torch dataset, into a store."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmdb_reid import codec
from lmdb_reid.errors import ImageError, InvalidSampleError, SourceReadError, UsageError
from lmdb_reid.schema import Pixels, Size
from lmdb_reid.store._prepared import NewSample

if TYPE_CHECKING:
    from lmdb_reid.store._writer import StoreWriter

Ids = Sequence[str] | Callable[[int], str]
Records = Sequence[Mapping[str, Any]] | Callable[[int], Mapping[str, Any]]
_CHUNK = 64


def from_dataset(
    writer: StoreWriter,
    dataset: Iterable[Any],
    ids: Ids | None = None,
    records: Records | None = None,
    *,
    size: Size | None = None,
    quality: int = 95,
) -> int:
    """Put every item of a dataset: whatever has a length and is indexed from 0, as torch's datasets
    do, or is gone through once.

    >>> with StoreWriter("people.lmdb") as writer:  # doctest: +SKIP
    ...     writer.from_dataset(dataset)

    An item is (image, label) or (image, record). An image is the bytes of an image file, the path
    of one, a PIL image, a uint8 array [H, W, 3] or [H, W], or a uint8 tensor [3, H, W]. A JPEG
    stays byte for byte unless it has to be resized. A label is an integer from 0, or -1: unknown;
    a record is a dict, as `put` takes it.

    Where the writer resumes an unfinished build, items that are in the store are passed over: the
    dataset has to give the same items in the same order.

    Args:
        writer: of the store.
        dataset: the items.
        ids: the id of each, by position, or a function of the position; `00000000`, `00000001` ...
            unless given.
        records: what else is known of each, by position, or a function of the position: added to
            the item's own label or record, and stronger.
        size: (height, width) of the stored pictures (default: as they are).
        quality: of the JPEG, 1 to 100, where one is made.

    Returns:
        How many items there are.

    Raises:
        InvalidSampleError: an item, or its image, is none of these; the message names its position.
        UsageError: ids or records are fewer than items, or more.
        DuplicateSampleError: an id is in the store already.
        StoreWriteError: as `put`.
    """
    done = writer.marks()
    items, count = _items(dataset), 0
    if isinstance(dataset, Sized):  # before the work, if it can be known
        _check_as_many(len(dataset), ids=ids, records=records)
    while many := list(islice(items, _CHUNK)):
        named = [_given(ids, at, "ids", f"{at:08d}") for at in range(count, count + len(many))]
        mark = "from_dataset " + hashlib.blake2b(repr(named).encode(), digest_size=16).hexdigest()
        if mark not in done:
            samples = []
            for at, (sample_id, item) in enumerate(zip(named, many, strict=True), count):
                image, record = _parts(item, at)
                more = _given(records, at, "records", {})
                if not isinstance(more, Mapping):
                    raise InvalidSampleError(
                        f"the record of item {at} must be a dict, got {type(more).__name__}"
                    )
                record |= more
                samples.append(NewSample(sample_id, _jpeg(image, at, size, quality), record))
            writer.put_group(mark, samples)
        count += len(many)
    _check_as_many(count, ids=ids, records=records)
    return count


def _items(dataset: Any) -> Iterator[Any]:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        try:
            return iter(dataset)
        except TypeError:
            raise UsageError(
                f"a dataset must have items to go through, and {type(dataset).__name__} has none"
            ) from None
    return (dataset[at] for at in range(len(dataset)))


def _check_as_many(count: int, **values: Any) -> None:
    """Refuse ids or records of another number than items; functions have none."""
    for what, many in values.items():
        if hasattr(many, "__len__") and len(many) != count:
            raise UsageError(
                f"{what} must be as many as items, got {len(many):,} for {count:,} items"
            )


def _given(values: Any, at: int, what: str, default: Any) -> Any:
    """What stands for a position."""
    if values is None:
        return default
    if callable(values):
        return values(at)
    try:
        return values[at]
    except TypeError:
        raise UsageError(
            f"{what} must be a list, or a function of the position, got {type(values).__name__}."
            " Make a list of it"
        ) from None
    except (IndexError, KeyError):
        raise UsageError(f"{what} must be as many as items, got none for item {at}") from None


def _parts(item: Any, at: int) -> tuple[Any, dict[str, Any]]:
    """The image and the record of an item."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        got = f"{len(item)} of them" if isinstance(item, tuple | list) else type(item).__name__
        raise InvalidSampleError(
            f"an item must be (image, label) or (image, record), got {got} at item"
            f" {at}. Wrap the dataset in a generator that yields such pairs"
        )
    image, known = item
    if isinstance(known, Mapping):
        return image, dict(known)
    try:
        return image, {"label": operator.index(known)}
    except TypeError:
        raise InvalidSampleError(
            f"the label of item {at} must be a whole number, or it has a record; got {known!r:.80}"
        ) from None


def _jpeg(image: Any, at: int, size: Size | None, quality: int) -> bytes:
    """An image as a JPEG; one that is a JPEG already stays as it is."""
    try:
        if isinstance(image, str | os.PathLike):
            image = Path(image).read_bytes()
        if isinstance(image, bytes | bytearray | memoryview):
            data = bytes(image)
            info = codec.probe(data)
            if info.plain and size in (None, (info.height, info.width)):
                return data
            image = codec.read_source(data, info)
        pixels = _pixels(image, at)
        return codec.encode(pixels if size is None else codec.resize(pixels, size), quality=quality)
    except ImageError as error:
        raise InvalidSampleError(f"the image of item {at} cannot be used: {error}") from None
    except OSError as error:
        raise SourceReadError(
            f"the image of item {at} cannot be read: {error.strerror or error} ({error.filename})"
        ) from None


def _pixels(image: Any, at: int) -> Pixels:
    """Decoded pixels as uint8 [H, W, 3]."""
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # of PIL
        return np.asarray(image.convert("RGB"))
    layout = "[H, W, 3]"
    if hasattr(image, "detach"):  # a tensor
        image, layout = image.detach().cpu().numpy(), "[3, H, W]"
        image = image.transpose(1, 2, 0) if image.ndim == 3 else image
    if not isinstance(image, np.ndarray):
        raise ImageError(
            "it must be bytes, a path, a PIL image, a uint8 array [H, W, 3] or a uint8 tensor"
            f" [3, H, W], got {type(image).__name__}"
        )
    if image.dtype != np.uint8:
        raise ImageError(
            f"pixels must be uint8, got {image.dtype}. Pass them as they are before"
            " ToTensor and Normalize: a store keeps pictures, and loaders scale them"
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"pixels must be {layout}, got {list(image.shape)} of [H, W, ...]")
    return np.ascontiguousarray(image)
