"""A store as a map-style dataset of (image, label)."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from lmdb_reid import codec
from lmdb_reid._memory import pixel_memory
from lmdb_reid.cache import PixelCache
from lmdb_reid.errors import CorruptSampleError, ImageError, UnknownRowError, UsageError
from lmdb_reid.schema import NO_LABEL, Size
from lmdb_reid.store import Store

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Transform = Callable[..., Any]
"""Takes a uint8 tensor [3, H, W]; with a keyword `generator` it is given a seeded
torch.Generator.
"""


class FromCache(NamedTuple):
    """What of a reading came from the dataset's cache."""

    samples: int = 0
    seconds: float = 0.0
    """That asking the cache took."""


_NATIVE_SIZE = (256, 128)  # what training uses where the store's images differ in size


class ReIDDataset(Dataset[tuple[Any, int]]):
    """Samples of a store, decoded as they are asked for.

    `dataset[i]` is (image, label): the image a uint8 tensor [3, H, W], RGB (a view of [H, W, 3]
    memory), or what `transform` makes of it. Pickles to under 1 kB plus the row selection; works
    under fork, forkserver and spawn.

    Args:
        store: a Store, or the path of one.
        rows: which rows of the store, in which order; None is every sample, negatives too.
        size: (height, width) of the images; None means the store's own, or 256x128 for a store of
            differing sizes.
        transform: called with each image.
        labels: "stored"; "relabel" maps the selection's labels from 0 up to 0..N-1 in sorted
            order, -1 stays; or one int64 label for each selected row.
        cache: keeps decoded pixels, an `LRUCache` or a `DecodedTier`.
        fast_dct: decode faster and slightly wrong.

    Raises:
        UsageError: rows, labels or a size that do not fit the store.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        rows: Sequence[int] | Rows | None = None,
        *,
        size: Size | None = None,
        transform: Transform | None = None,
        labels: Literal["stored", "relabel"] | Sequence[int] | Rows = "stored",
        cache: PixelCache | None = None,
        fast_dct: bool = False,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self.size = _checked_size(size) or self.store.size or _NATIVE_SIZE
        self.transform = transform
        self.cache = cache
        self.fast_dct = fast_dct
        self._rows = None if rows is None else _checked_rows(rows, len(self.store))
        self._labels_as: str | Rows = (
            labels if isinstance(labels, str) else _checked_labels(labels, len(self))
        )
        if isinstance(self._labels_as, str) and self._labels_as not in ("stored", "relabel"):
            raise UsageError(
                f"labels={labels!r}: give 'stored', 'relabel' or one label for each row"
            )
        self._labels: Rows | None = None
        self._wants_generator = transform is not None and takes_generator(transform)

    @property
    def rows(self) -> Rows:
        """The selected rows of the store, int64 [N]."""
        return np.arange(len(self.store)) if self._rows is None else self._rows

    @property
    def labels(self) -> Rows:
        """The label of each item, int64 [N]."""
        if self._labels is None:
            self._labels = self._made_labels()
        return self._labels

    @property
    def classes(self) -> Rows:
        """The distinct labels from 0 up, sorted; under "relabel" as the store has them, so
        `classes[label]` is the stored one.
        """
        stored = self._stored_labels() if isinstance(self._labels_as, str) else self._labels_as
        return np.unique(stored[stored > NO_LABEL])

    def __len__(self) -> int:
        return len(self.store) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """(image, label) of one item.

        Raises:
            UnknownRowError: no such item.
            CorruptSampleError: the stored bytes are damaged; names the sample.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """A list of items, for torch's own loader."""
        chosen = self._checked_indices(indices)
        labels = self.labels[chosen].tolist()
        out = pixel_memory((len(chosen), *self.size, 3))
        self.read_into(chosen, out)
        images = (
            self.transformed(torch.from_numpy(pixels).permute(2, 0, 1), None) for pixels in out
        )
        return list(zip(images, labels, strict=True))

    def read_into(
        self, indices: Sequence[int] | Rows, out: Pixels, corrupt: list[int] | None = None
    ) -> FromCache:
        """Decode items straight into a batch buffer.

        Args:
            indices: items, 0..len-1.
            out: uint8 [B, H, W, 3], C-contiguous, B as many as indices.
            corrupt: if given, damaged items are noted there (their places in `out`, whose pixels
                are then undefined) instead of raised.

        Returns:
            What came from the cache; all the rest was decoded.

        Raises:
            CorruptSampleError: stored bytes are damaged; `out` is then partly written.
        """
        chosen = self._checked_indices(indices)
        fits = out.shape == (len(chosen), *self.size, 3) and out.dtype == np.uint8
        if not (fits and out.flags.c_contiguous):
            raise UsageError(
                f"{len(chosen)} images of {self.size} do not fit a buffer of shape {out.shape}"
            )
        rows = self.store_rows(chosen)
        found = FromCache()
        missing = None
        if self.cache is not None:
            began = perf_counter()
            missing = self.cache.fill(self._source, rows, out)
            found = FromCache(len(rows) - len(missing), perf_counter() - began)
        if missing is None or len(missing) == len(rows):
            self._decode_all(rows, list(range(len(rows))), out, corrupt)
        elif len(missing):
            self._decode_all(rows, missing.tolist(), out, corrupt)
        return found

    def _decode_all(
        self, rows: Rows, places: list[int], out: Pixels, corrupt: list[int] | None
    ) -> None:
        wanted = rows if len(places) == len(rows) else rows[places]
        with self.store._reading() as jpegs_of:
            # All bytes first: the decoder's loop holds the GIL for as short as can be between two
            # decodings, or threads would wait for each other (14 % with two of them).
            places, jpegs = self._found(jpegs_of, wanted.tolist(), places, corrupt)
            outs = list(out) if len(places) == len(out) else [out[place] for place in places]
            failed = self._decode(jpegs, rows, places, outs)
        bad = {places[at] for at, _ in failed}
        if corrupt is not None:
            corrupt += sorted(bad)
        elif failed:
            at, error = failed[0]
            raise CorruptSampleError(f"{self.store.ids[rows[places[at]]]}: {error}") from None
        if self.cache is not None:
            for place in places:
                if place not in bad:
                    one = slice(place, place + 1)
                    self.cache.keep(self._source, rows[one], out[one])

    def _found(
        self,
        jpegs_of: Callable[[list[int]], list[memoryview]],
        rows: list[int],
        places: list[int],
        corrupt: list[int] | None,
    ) -> tuple[list[int], list[memoryview]]:
        """The JPEG of each row, and their places, without those that are noted as damaged."""
        try:
            return places, jpegs_of(rows)
        except CorruptSampleError:
            if corrupt is None:
                raise
        whole: list[int] = []  # one by one, now that some are damaged
        found: list[memoryview] = []
        for place, row in zip(places, rows, strict=True):
            try:
                found += jpegs_of([row])
                whole.append(place)
            except CorruptSampleError:
                corrupt.append(place)
        return whole, found

    def _decode(
        self, jpegs: list[memoryview], rows: Rows, places: list[int], outs: list[Pixels]
    ) -> list[tuple[int, ImageError]]:
        """Decode each to the dataset's size; returns (position, error) of those that cannot be."""
        if self.store.size == self.size:
            return codec.decode_each(jpegs, outs, fast_dct=self.fast_dct)
        failed = []
        own_sizes = self._of_own_size(rows[places])
        for at, (jpeg, own, out) in enumerate(zip(jpegs, own_sizes, outs, strict=True)):
            try:
                if own:
                    codec.decode(jpeg, out, fast_dct=self.fast_dct)
                else:
                    larger = codec.decode_scaled(jpeg, self.size, fast_dct=self.fast_dct)
                    codec.resize(larger, self.size, out)
            except ImageError as error:
                failed.append((at, error))
        return failed

    def _of_own_size(self, rows: Rows) -> list[bool]:
        """Whether each image has the dataset's size and needs no resizing."""
        columns = self.store.columns
        heights, widths = columns["height"][rows], columns["width"][rows]
        own: list[bool] = ((heights == self.size[0]) & (widths == self.size[1])).tolist()
        return own

    @property
    def _source(self) -> str:
        """What decides the pixels of a row: caches keep them under this name."""
        height, width = self.size
        decoder = f"{codec.codec_id()}-{'fast' if self.fast_dct else 'accurate'}"
        return f"{self.store.digest}-{height}x{width}-{decoder}"

    def store_rows(self, indices: Rows) -> Rows:
        """The store's rows of some items, int64."""
        return indices if self._rows is None else self._rows[indices]

    def transformed(self, image: torch.Tensor, seed: int | None) -> Any:
        """`image` through the transform, whose generator is seeded with `seed` if it takes one."""
        if self.transform is None:
            return image
        return applied(self.transform, image, seed, wants_generator=self._wants_generator)

    @property
    def wants_generator(self) -> bool:
        """Whether the transform has a keyword `generator`."""
        return self._wants_generator

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_labels": None}

    def __repr__(self) -> str:
        size = f"{self.size[0]}x{self.size[1]}"
        return (
            f"ReIDDataset({str(self.store.path)!r}, {len(self):,} samples, {size}, labels"
            f" {_told(self._labels_as)})"
        )

    def _stored_labels(self) -> Rows:
        column: Rows = self.store.columns["label"]
        return column if self._rows is None else column[self._rows]

    def _made_labels(self) -> Rows:
        if not isinstance(self._labels_as, str):
            return self._labels_as
        stored = self._stored_labels()
        if self._labels_as == "stored":
            return stored
        return np.where(stored > NO_LABEL, np.searchsorted(self.classes, stored), NO_LABEL).astype(
            np.int64
        )

    def _checked_indices(self, indices: Sequence[int] | Rows) -> Rows:
        given = np.asarray(indices)
        if given.size and given.dtype.kind not in "iu":
            raise UsageError(f"items are whole numbers, not {given.dtype}: {indices!r}")
        chosen = given.astype(np.int64, copy=False)
        if not len(chosen):
            return chosen
        listed = chosen.tolist()  # NumPy's own min and max take 30 us out of cold caches
        least, most = min(listed), max(listed)
        if least < -len(self) or most >= len(self):
            bad = most if most >= len(self) else least
            raise UnknownRowError(f"item {bad} of a dataset of {len(self)}")
        return chosen if least >= 0 else np.where(chosen < 0, chosen + len(self), chosen)


def _checked_size(size: Size | None) -> Size | None:
    if size is None:
        return None
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size)
    ):
        raise UsageError(f"size={size!r}: give (height, width) in pixels")
    return int(size[0]), int(size[1])


def _checked_rows(rows: Sequence[int] | Rows, count: int) -> Rows:
    chosen = np.asarray(rows)
    if chosen.dtype == bool:
        raise UsageError("rows are numbers; of a mask, give np.flatnonzero(mask)")
    if chosen.size and not np.issubdtype(chosen.dtype, np.integer):
        raise UsageError(
            f"rows are whole numbers, not {chosen.dtype}: store.query(...) and store.row(id)"
            f" give some"
        )
    if chosen.ndim != 1:
        raise UsageError(f"rows have one dimension, not {chosen.ndim}")
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < count):
        raise UsageError(
            f"rows {chosen.min()}..{chosen.max()} do not fit a store of {count} samples"
        )
    return chosen.astype(np.int64)


def _checked_labels(labels: Sequence[int] | Rows, count: int) -> Rows:
    given = np.asarray(labels)
    if given.shape != (count,) or not np.issubdtype(given.dtype, np.integer):
        raise UsageError(
            f"labels: {given.dtype} {given.shape} given for {count} rows; one whole number each"
            f" is needed"
        )
    return given.astype(np.int64)


def applied(
    transform: Transform, image: torch.Tensor, seed: int | None, *, wants_generator: bool
) -> Any:
    """What a transform makes of an image; a generator that it wants is seeded with `seed`, or by
    the system where that is None.
    """
    if not wants_generator:
        return transform(image)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return transform(image, generator=generator)


def takes_generator(transform: Transform) -> bool:
    """Whether a transform has a keyword `generator`."""
    # A torch module is called through Module.__call__, which takes anything.
    called = transform.forward if isinstance(transform, torch.nn.Module) else transform
    try:
        return "generator" in inspect.signature(called).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def _told(labels: str | Rows) -> str:
    return labels if isinstance(labels, str) else "given"
