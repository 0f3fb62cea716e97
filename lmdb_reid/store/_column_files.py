"""The files of a store's columns: their lengths, checksums, maps and categories."""

from __future__ import annotations

import errno
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import ResourceError, StoreChangedError, StoreDamagedError, StoreError
from lmdb_reid.store._format import COLUMNS, DTYPES

AGAIN = "; copy the store again, or build it anew"
Column = npt.NDArray[Any]


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
        specs: Mapping[str, Mapping[str, Any]],
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
        mapped = self._maps.get(name)
        if mapped is None:
            mapped = self._maps[name] = self._map(name, self.specs[name])
        return mapped

    def categories(self, name: str) -> list[str] | None:
        """The strings that a column's codes stand for, or None where the column holds numbers."""
        spec = self.specs[name].get("categories")
        if spec is None:
            return None
        if name not in self._categories:
            file = self._folder / f"{name}.json"
            text = _read(file)
            if zlib.crc32(text) != spec["crc32"]:
                raise self._damaged(f"{file} is damaged: its crc32 differs from the manifest's")
            self._categories[name] = json.loads(text)
        return self._categories[name]

    def check_sizes(self) -> None:
        """Compare the length of every file with the manifest's.

        Raises:
            StoreDamagedError: a file is missing, has another length, or the manifest names an
                unknown dtype.
        """
        for name, spec in self.specs.items():
            if spec["dtype"] not in DTYPES:
                raise StoreDamagedError(
                    f"column {name!r} has dtype {spec['dtype']!r}, which this format lacks"
                )
            file = self._folder / f"{name}.bin"
            wanted = spec["length"] * np.dtype(spec["dtype"]).itemsize
            try:
                found = file.stat().st_size
            except OSError as error:
                raise StoreDamagedError(
                    f"{file} cannot be read: {error.strerror}", path=file
                ) from None
            if found != wanted:
                raise StoreDamagedError(
                    f"{file} has {found} bytes; its manifest says {wanted}{AGAIN}", path=file
                )

    def _map(self, name: str, spec: Mapping[str, Any]) -> Column:
        file = self._folder / f"{name}.bin"
        if spec["length"] == 0:
            return np.empty(0, spec["dtype"])
        try:
            mapped = np.memmap(file, spec["dtype"], "r", shape=(spec["length"],))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise ResourceError(
                    f"{file} cannot be opened: {error.strerror}. Allow more with `ulimit -n 4096`,"
                    " or use fewer workers",
                    path=file,
                ) from None
            raise self._damaged(f"{file} cannot be mapped: {error}") from None
        except ValueError as error:
            raise self._damaged(f"{file} cannot be mapped: {error}") from None
        if zlib.crc32(mapped.data) != spec["crc32"]:
            raise self._damaged(f"{file} is damaged: its crc32 differs from the manifest's")
        return mapped.view(np.ndarray)  # the same memory; np.memmap takes 10 us to index

    def _damaged(self, message: str) -> StoreError:
        if self._is_replaced():
            return StoreChangedError(
                f"the store at {self.path} was replaced since it was opened", path=self.path
            )
        return StoreDamagedError(message + AGAIN, path=self.path)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StoreDamagedError(f"{file} cannot be read: {error.strerror}", path=file) from None
