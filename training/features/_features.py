"""Features of a store's samples."""

from __future__ import annotations

import difflib
import json
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from lmdb_reid import _json
from lmdb_reid._arguments import known_fields
from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import (
    FeaturesError,
    FeaturesNotFoundError,
    StaleFeaturesError,
    UsageError,
)
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store
from training.features._file import MOST_NOTE, SUFFIX, Found, read_features, write_features
from training.ranking.distances import as_array, check_finite

Place: TypeAlias = str | os.PathLike[str]
Array: TypeAlias = npt.NDArray[np.floating[Any]]
Chosen: TypeAlias = npt.NDArray[Any] | list[int] | list[str] | str

_FOLDER = ".features"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Numbers for samples of a store; `save` writes them, `load` reads them."""

    name: str
    path: Path
    array: Array = field(repr=False)
    """Float [N, D], a read-only memory map."""
    rows: Rows | None = field(repr=False)
    """int64 [N], the row of the store that each is of; None: row i is of row i, and N are all."""
    made_by: Mapping[str, Any]
    """What made them, as it was given to `save`; empty for a .npy that somebody else wrote."""

    @classmethod
    def save(
        cls,
        store: Store | Place,
        name: str,
        array: Array | torch.Tensor,
        *,
        made_by: Mapping[str, Any] | None = None,
        rows: Chosen | None = None,
    ) -> Features:
        """Keep features beside a store, in STORE.features/NAME.npy.

        The file is there whole or not at all; one of that name is replaced.

        Args:
            store: whose samples they are of.
            name: letters, digits, `_`, `.` and `-`, 100 at most.
            array: float16 or float32 [N, D], one row for each sample, in the order of the store's
                rows, or of `rows`.
            made_by: what made them, as JSON takes it: the checkpoint's name and checksum, settings;
                nothing unless given, and then `load(made_by=...)` refuses them.
            rows: which samples, if not all: rows, ids, a mask or a query; each once.

        Raises:
            UsageError: another dtype or shape, NaN or infinity (the message has the rows), a sample
                that stands twice, a name that cannot be a file's, or what JSON does not take.
            WriteError: the disk or its permissions stand in the way.
        """
        opened = store if isinstance(store, Store) else Store(store)
        path = _beside(opened, name)
        found = _checked(as_array(array, "features"))
        chosen = None if rows is None else _distinct(ReIDDataset(opened, rows).rows)
        wanted = len(opened) if chosen is None else len(chosen)
        if len(found) != wanted:
            raise UsageError(
                f"features must be one row for each of {wanted:,} samples, got"
                f" {len(found):,}. If they are of other samples, pass rows="
            )
        note = {
            "store": opened.manifest.fingerprint,
            "samples": len(opened),
            "made_by": _plain(made_by or {}),
        }
        write_features(path, found, chosen, note)
        return cls.load(opened, name)

    @staticmethod
    def check_name(name: str) -> None:
        """Refuse a name that `save` refuses.

        Raises:
            UsageError: it is none.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(SUFFIX):
            raise UsageError(
                "the name of features must be 1 to 100 letters, digits, '_', '.' or '-', begin with"
                f" none of the last two, and not end in {SUFFIX}; got {name!r}"
            )

    @classmethod
    def load(
        cls, store: Store | Place, name: Place, *, made_by: Mapping[str, Any] | None = None
    ) -> Features:
        """Features of a store, memory-mapped; their checksum is compared.

        Args:
            store: whose samples they are of.
            name: as it was saved; or the path of a .npy file of anybody's, which has a row for
                each of the store's, in their order.
            made_by: what they must have been made by, if that matters.

        Raises:
            FeaturesNotFoundError: there are none of this name; the message has the nearest.
            StaleFeaturesError: they are of another store, of another order of its parts, or were
                made by something else.
            FeaturesError: the file is damaged, no array of floats [N, D], or has not a row for each
                of the store's.
        """
        opened = store if isinstance(store, Store) else Store(store)
        path = Path(name) if _is_path(name) else _beside(opened, str(name))
        try:
            found = read_features(path)
            if found.note is None and not _is_path(name):
                raise ValueError("it has no note: it was cut, or another program wrote it")
            _check_note(path, found, opened, made_by)
        except FileNotFoundError:
            raise FeaturesNotFoundError(_why_not_found(opened, path), path=path) from None
        except FeaturesError:
            raise
        except UsageError:
            raise
        except (OSError, ValueError) as error:
            raise FeaturesError(f"{path} cannot be read as features: {error}", path=path) from None
        _check_array(path, found, opened)
        return cls(
            name=path.stem,
            path=path,
            array=found.array,
            rows=found.rows,
            made_by={} if found.note is None else found.note.made_by,
        )

    def of(self, rows: Rows) -> Array:
        """The features of some rows of the store: float [B, D], a copy.

        Raises:
            UsageError: rows that are no list of whole numbers.
            FeaturesError: a row has none.
        """
        given = rows
        rows = np.asarray(given)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise UsageError(
                f"rows must be a list of whole numbers, got {type(given).__name__}"
                f" ({rows.dtype} {list(rows.shape)}). A query has rows by store.query, a mask by"
                " np.flatnonzero"
            )
        rows = rows.astype(np.int64)
        if self.rows is None:
            found, lacking = rows, np.flatnonzero((rows < 0) | (rows >= len(self.array)))
        else:
            order = np.argsort(self.rows, kind="stable")
            places = np.searchsorted(self.rows, rows, sorter=order).clip(max=len(order) - 1)
            found = order[places]
            lacking = np.flatnonzero(self.rows[found] != rows)
        if len(lacking):
            raise FeaturesError(
                f"{len(lacking):,} of {len(rows):,} samples have no features in {self.path}, the"
                f" first in row {rows[lacking[0]]}. Make features of these too.",
                path=self.path,
                rows=rows[lacking[:5]],
            )
        return np.array(self.array[found])

    def __repr__(self) -> str:
        count, length = self.array.shape
        return f"Features({str(self.path)!r}, {self.array.dtype} [{count:,}, {length}])"


def _is_path(name: Place) -> bool:
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"features must be loaded by their name or by a path, got {name!r}")
    return not isinstance(name, str) or name.endswith(SUFFIX) or os.sep in name


def _folder(store: Store) -> Path:
    return store.path.with_name(store.path.name + _FOLDER)


def _beside(store: Store, name: str) -> Path:
    Features.check_name(name)
    return _folder(store) / f"{name}{SUFFIX}"


def _checked(found: Array) -> Array:
    if found.dtype.newbyteorder("<").str not in ("<f2", "<f4"):
        raise UsageError(
            f"features must be float16 or float32, got {found.dtype}. Use .astype('float32')."
        )
    check_finite(found, "feature")
    return found


def _distinct(rows: Rows) -> Rows:
    values, counts = np.unique(rows, return_counts=True)
    if len(values) < len(rows):
        raise UsageError(f"rows must be distinct, got row {values[counts > 1][0]} more than once")
    return rows


def _plain(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    try:
        data = json.dumps(dict(made_by), ensure_ascii=False, allow_nan=False).encode()
        found: dict[str, Any] = _json.parse(data)
    except (TypeError, ValueError, RecursionError) as error:
        got = reprlib.repr(made_by)
        raise UsageError(f"made_by must be what JSON takes, got {got}: {error}") from None
    if len(data) > MOST_NOTE // 2:
        raise UsageError(f"made_by must be under {MOST_NOTE // 2:,} bytes, got {len(data):,}")
    return found


def _check_note(path: Path, found: Found, store: Store, made_by: Mapping[str, Any] | None) -> None:
    own = store.manifest.fingerprint
    made_of, maker = (own, {}) if found.note is None else (found.note.store, found.note.made_by)
    if made_of != own:
        is_ordered = made_of.partition("-")[0] == store.digest
        what = "the same samples in another order" if is_ordered else "another store"
        raise StaleFeaturesError(
            f"{path} was made of {what} than {store.path}: of digest {made_of[:16]}, and this"
            f" store's is {own[:16]}. Make the features again.",
            path=path,
        )
    if made_by is not None and maker != _plain(made_by):
        raise StaleFeaturesError(
            f"{path} was made by {maker}, and not by {dict(made_by)}. Make the features again.",
            path=path,
        )


def _check_array(path: Path, found: Found, store: Store) -> None:
    array = found.array
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.floating):
        raise FeaturesError(
            f"{path} must hold floats [N, D], got {array.dtype} {list(array.shape)}", path=path
        )
    rows = found.rows
    if rows is not None and (
        rows.min() < 0 or rows.max() >= len(store) or len(np.unique(rows)) < len(rows)
    ):
        raise FeaturesError(
            f"{path} must be of rows 0..{len(store) - 1}, each once, got others", path=path
        )
    if rows is None and len(array) != len(store):
        raise FeaturesError(
            f"{path} must have a row for each of the {len(store):,} samples of {store.path}, got"
            f" {len(array):,}",
            path=path,
        )


def _why_not_found(store: Store, path: Path) -> str:
    if path.parent != _folder(store):
        return f"no features at {path}"
    there = sorted(file.stem for file in _folder(store).glob(f"*{SUFFIX}"))
    if not there:
        return f"no features beside {store.path}: lmdb-reid embed makes them"
    near = difflib.get_close_matches(path.stem, there, n=1, cutoff=0.0)[0]
    return f"no features {path.stem!r} beside {store.path}; the nearest of {len(there)}: {near!r}"
