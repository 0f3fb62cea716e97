"""The files of a store's columns: their lengths, checksums, maps and categories."""

from __future__ import annotations

import codecs
import stat
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid import _json
from lmdb_reid._regular import mapped, read_limited
from lmdb_reid.errors import StoreChangedError, StoreDamagedError, StoreError
from lmdb_reid.schema import NO_LABEL, Kind
from lmdb_reid.store._format import COLUMNS, ID_COLUMN, ID_OFFSETS_COLUMN, MAX_SIDE
from lmdb_reid.store._passing import passing
from lmdb_reid.store._specs import ColumnSpec

AGAIN = ". Copy the store again, or rebuild it"
Column = npt.NDArray[Any]
_RANGES = {
    "label": (NO_LABEL, (1 << 63) - 1),
    "kind": (min(Kind), max(Kind)),
    "height": (1, MAX_SIDE),
    "width": (1, MAX_SIDE),
    "src_order": (-1, (1 << 63) - 1),
}
_TEXT_BLOCK = 1 << 20


class ColumnFiles:
    """Every column of a store by name, the two that hold the ids included.

    A file is mapped when it is first asked for, and its checksum is compared then.

    Args:
        path: the store's directory.
        specs: what the manifest says of each column.
        is_replaced: whether another store has taken the name since.
    """

    def __init__(
        self,
        path: Path,
        specs: Mapping[str, ColumnSpec],
        is_replaced: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = path
        self.specs = specs
        self._folder = path / COLUMNS
        self._is_replaced = is_replaced
        self._maps: dict[str, Column] = {}
        self._categories: dict[str, list[str]] = {}

    def column(self, name: str) -> Column:
        """A read-only array over the file of a column that the manifest names.

        Raises:
            StoreDamagedError: the file is not the one that was sealed.
        """
        column = self._maps.get(name)
        if column is None:
            column = self._maps[name] = self._map(name, self.specs[name])
        return column

    def categories(self, name: str) -> list[str] | None:
        """The strings that a column's codes stand for, or None where the column holds numbers."""
        spec = self.specs[name]
        if spec.categories is None:
            return None
        if name not in self._categories:
            self._categories[name] = self._read_categories(name, spec)
        return self._categories[name]

    def check_sizes(self) -> None:
        """Compare the length of every file with the manifest's.

        Raises:
            StoreDamagedError: a file is missing or has another length.
        """
        for name, spec in self.specs.items():
            self._check_size(f"{name}.bin", spec.length * np.dtype(spec.dtype).itemsize)
            if spec.categories is not None:
                self._check_size(f"{name}.json", spec.categories_size)

    def _check_size(self, name: str, wanted: int) -> None:
        file = self._folder / name
        try:
            status = file.stat()
        except OSError as error:
            raise passing(file, error) or StoreDamagedError(
                f"{file} cannot be read: {error.strerror}", path=file
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise StoreDamagedError(f"{file} is not a regular file{AGAIN}", path=file)
        if status.st_size != wanted:
            raise StoreDamagedError(
                f"{file} has {status.st_size} bytes; its manifest says {wanted}{AGAIN}", path=file
            )

    def _map(self, name: str, spec: ColumnSpec) -> Column:
        file = self._folder / f"{name}.bin"
        if spec.length == 0:
            return np.empty(0, spec.dtype)
        try:
            column = mapped(file, spec.dtype, spec.length)
        except OSError as error:
            raise passing(file, error) or self._damaged(
                f"{file} cannot be mapped: {error}"
            ) from None
        except ValueError as error:
            raise self._damaged(f"{file} cannot be mapped: {error}") from None
        if zlib.crc32(column.data) != spec.crc32:
            raise self._damaged(f"{file} is damaged: its crc32 differs from the manifest's")
        self._check_values(file, name, spec, column)
        return column

    def _check_values(self, file: Path, name: str, spec: ColumnSpec, column: Column) -> None:
        """What a checksum cannot say: whether the values that were sealed are of any use."""
        if name == ID_OFFSETS_COLUMN:
            whole = column[0] == 0 and column[-1] == self.specs[ID_COLUMN].length
            if not (whole and (column[1:] > column[:-1]).all()):
                raise self._damaged(f"{file} must ascend from 0 to the length of all ids")
            if not _are_texts(self.column(ID_COLUMN), column):
                raise self._damaged(f"{self._folder / ID_COLUMN}.bin holds ids that are not utf-8")
        elif name in _RANGES:
            least, most = int(column.min()), int(column.max())
            if least < _RANGES[name][0] or most > _RANGES[name][1]:
                raise self._damaged(
                    f"{file} must hold numbers in {_RANGES[name][0]}..{_RANGES[name][1]}, got"
                    f" {least}..{most}"
                )
        elif spec.categories is not None and len(column):
            least, most = int(column.min()), int(column.max())
            if least < -1 or most >= spec.categories:
                raise self._damaged(
                    f"{file} must hold codes in -1..{spec.categories - 1}, got {least}..{most}"
                )

    def _read_categories(self, name: str, spec: ColumnSpec) -> list[str]:
        file = self._folder / f"{name}.json"
        try:
            text = read_limited(file, spec.categories_size)
            if zlib.crc32(text) != spec.categories_crc32:
                raise self._damaged(f"{file} is damaged: its crc32 differs from the manifest's")
            names = _json.parse(text)
            if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
                raise ValueError("it is not a list of texts")
            "".join(names).encode()  # no lone surrogates, which nothing could print
            if len(names) != spec.categories or len(set(names)) < len(names):
                raise ValueError(f"it must have {spec.categories} different texts")
        except OSError as error:
            raise passing(file, error) or self._damaged(
                f"{file} cannot be read: {error.strerror}"
            ) from None
        except StoreError:
            raise
        except ValueError as error:
            raise self._damaged(f"{file} holds no categories: {error}") from None
        return names

    def _damaged(self, message: str) -> StoreError:
        if self._is_replaced():
            return StoreChangedError(
                f"the store at {self.path} was replaced since it was opened. Open it again",
                path=self.path,
            )
        return StoreDamagedError(message + AGAIN, path=self.path)


def _are_texts(text: Column, ends: Column) -> bool:
    """Whether each id is utf-8: all of them end to end, and none begins within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    ascii_only = True
    try:
        for first in range(0, len(text), _TEXT_BLOCK):
            block = text[first : first + _TEXT_BLOCK]
            if int(block.max()) >= 0x80 or decoder.getstate()[0]:
                ascii_only = False
                decoder.decode(block.tobytes())
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return ascii_only or bool(((text[ends[:-1]] & 0xC0) != 0x80).all())
