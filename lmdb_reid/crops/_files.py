"""Crops that stand in files of their own, one each."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lmdb_reid import codec
from lmdb_reid.crops._protocol import KeyGroup, check_read
from lmdb_reid.errors import (
    CorruptSampleError,
    ImageError,
    ResourceError,
    SourceError,
    SourceNotFoundError,
    UsageError,
)
from lmdb_reid.schema import Pixels, Rows, Size

_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


class FileCrops:
    """Image files as pictures of one size; see `Crops` and `Keyed`.

    The content decides a file's format; EXIF rotation is applied.

    Args:
        paths: the files.
        size: (height, width); pictures of another size are resized. None is the size of the first
            file: a file of another size is then an error.
        columns: a value for each file, [N], under names such as "label".

    Raises:
        UsageError: no files and no size.
        SourceNotFoundError, SourceError, ImageError: the first file's size is asked for and the
            file is missing or cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        size: Size | None = None,
        *,
        columns: dict[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        self.paths = [os.fspath(path) for path in paths]
        self._columns = columns or {}
        self._resizes = size is not None
        if size is None:
            if not self.paths:
                raise UsageError("FileCrops of no files must have a size, such as (256, 128)")
            height, width, _ = read_image(self.paths[0]).shape
            size = (height, width)
        self._size = size
        self._source: str | None = None

    @property
    def size(self) -> Size:
        """See `Crops`."""
        return self._size

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, positions: Rows, out: Pixels, damaged: list[int] | None = None) -> None:
        """See `Crops`.

        Raises:
            SourceNotFoundError: a file is not there.
            SourceError: a file cannot be read.
            CorruptSampleError: a file cannot be decoded, and `damaged` is None.
            UsageError: a file has another size than the first, and no size was given.
        """
        check_read(self, positions, out)
        for slot, position in enumerate(positions.tolist()):
            path = self.paths[position]
            try:
                image = read_image(path)
            except ImageError as error:
                if damaged is None:
                    raise CorruptSampleError(str(error), ids=(path,), path=path) from None
                damaged.append(slot)
                continue
            if image.shape[:2] == self._size:
                out[slot] = image
            elif self._resizes:
                codec.resize(image, self._size, out[slot])
            else:
                height, width, _ = image.shape
                raise UsageError(
                    f"files of one batch must have one size: {path} is {height}x{width}, the"
                    f" first file {self._size[0]}x{self._size[1]}. Pass size=(height, width)"
                    " to resize them"
                )

    def names(self, positions: Rows) -> list[str]:
        """See `Crops`: the paths."""
        return [self.paths[position] for position in positions.tolist()]

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """See `Crops`."""
        return self._columns.get(name)

    def keys(self, positions: Rows) -> list[KeyGroup]:
        """See `Keyed`: the list of paths and the size stand for the pixels, so the files must stay
        as they are.
        """
        if self._source is None:
            text = "\0".join(self.paths).encode("utf-8", "surrogateescape")
            digest = hashlib.blake2b(text, digest_size=16).hexdigest()
            self._source = f"files-{digest}-{self._size[0]}x{self._size[1]}"
        return [KeyGroup(self._source, None, positions)]

    def __repr__(self) -> str:
        return f"FileCrops({len(self):,} files, {self._size[0]}x{self._size[1]})"


def read_image(path: str) -> Pixels:
    """The pixels of an image file, uint8 [H, W, 3] RGB, at its own size.

    Raises:
        SourceNotFoundError: the file is not there.
        ResourceError: the process may open no more files.
        SourceError: it cannot be read.
        ImageError: it cannot be decoded.
    """
    try:
        return codec.read_source(Path(path).read_bytes())
    except FileNotFoundError:
        raise SourceNotFoundError(f"no image at {path}", path=path) from None
    except OSError as error:
        if error.errno in _TOO_MANY_FILES:
            raise ResourceError(
                f"{path} cannot be read: {error.strerror}. Reduce num_workers, or allow more files"
                " with `ulimit -n 4096` (lmdb-reid doctor prints the limit)",
                path=path,
            ) from None
        raise SourceError(f"{path} cannot be read: {error.strerror}", path=path) from None
    except ImageError as error:
        raise type(error)(f"{path}: {error}", path=path) from None
