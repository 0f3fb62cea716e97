"""Frames and their rows as columns: some 80 bytes a row, and objects only while they are gone
through.

Shapes are given in brackets: F frames, R rows to cut, B boxes that are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from builders.columns import Coded, Column, Ints, Texts, cells_of, part_of
from builders.sources._frame import BoxRow, Frame
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Box, Kind
from lmdb_reid.store import cell_value

_CHUNK = 512  # frames that are objects at the same time
_KINDS = {int(kind): kind for kind in Kind}
_OWN = ("label", "kind", *Box._fields)
"""Names that records use themselves: a source's column of such a name is called src_<name>."""
_NO_FIELDS: Mapping[str, Any] = {}

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxRows:
    """`BoxRow`s as columns."""

    number: npt.NDArray[np.integer[Any]]
    """[R]"""
    label: Ints
    """[R]"""
    box: _Floats
    """[R, 4]; NaN in all four is the whole picture."""
    order: Ints
    """[R]"""
    kind: npt.NDArray[np.uint8] | None = None
    """[R]; None: all are people."""
    document: Coded[str] | None = None
    """[R]; None: no row has any."""
    entry: Ints | None = None
    """[R]; goes with `document`."""
    fields: Mapping[str, Column] = field(default_factory=dict)
    """[R] each."""
    records: Texts | None = None
    """[R]: in place of `fields`, those of each row as they are to be stored, under any names: a
    JSON list of [name, value], read by `lmdb_reid.store.cell_value`.
    """

    def __len__(self) -> int:
        return len(self.label)

    def part(self, rows: slice | Ints) -> BoxRows:
        """Some of the rows."""
        return BoxRows(
            number=self.number[rows],
            label=self.label[rows],
            box=self.box[rows],
            order=self.order[rows],
            kind=None if self.kind is None else self.kind[rows],
            document=None if self.document is None else _coded(self.document, rows),
            entry=None if self.entry is None else self.entry[rows],
            fields={name: part_of(column, rows) for name, column in self.fields.items()},
            records=None if self.records is None else texts_of(self.records, rows),
        )

    def objects(self) -> list[BoxRow]:
        """All of them as objects."""
        boxes: list[Box | None] = list(map(Box._make, self.box.tolist()))
        for at in np.flatnonzero(np.isnan(self.box[:, 0])).tolist():
            boxes[at] = None
        many = len(self)
        kinds = repeat(Kind.PERSON, many) if self.kind is None else map(_kind, self.kind.tolist())
        return list(
            map(
                BoxRow,
                self.number.tolist(),
                self.label.tolist(),
                boxes,
                kinds,
                _fields_of(self.fields, many) if self.records is None else _maps(self.records),
                repeat("", many) if self.document is None else _texts(self.document),
                repeat(-1, many) if self.entry is None else self.entry.tolist(),
                self.order.tolist(),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames(Sequence[Frame]):
    """Frames in the order of their keys' bytes, as columns; `frames_of` makes them of single ones.

    A slice shares the columns, and pickles without the rest of them.
    """

    keys: Texts
    """[F]"""
    fields: Mapping[str, Column]
    """[F] each: columns that all samples of a frame share."""
    starts: Ints
    """[F + 1]: the rows of frame i are starts[i] to starts[i + 1]."""
    rows: BoxRows
    box_starts: Ints | None = None
    """[F + 1], of `boxes`."""
    boxes: _Floats | None = None
    """[B, 4]: every box known of the frames; None: those of the rows."""
    relative: bool = False
    """Boxes are in shares of the pictures' width and height."""

    def __post_init__(self) -> None:
        of_rows: list[Sized] = [
            self.rows.number,
            self.rows.label,
            self.rows.box,
            self.rows.order,
            *(self.rows.fields.values()),
        ]
        of_rows += [
            each
            for each in (self.rows.kind, self.rows.document, self.rows.entry, self.rows.records)
            if each is not None
        ]
        if (
            len(self.starts) != len(self.keys) + 1
            or (self.box_starts is None) != (self.boxes is None)
            or (self.box_starts is not None and len(self.box_starts) != len(self.starts))
            or any(len(column) != len(self.keys) for column in self.fields.values())
            or {*map(len, of_rows)} != {int(self.starts[-1] - self.starts[0])}
        ):
            raise UsageError(
                "columns of frames must be as long as their keys, those of rows as rows"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Frame: ...
    @overload
    def __getitem__(self, at: slice) -> Frames: ...
    def __getitem__(self, at: int | slice) -> Frame | Frames:
        if not isinstance(at, slice):
            at = range(len(self))[at]
            return next(iter(self[at : at + 1]))
        first, last, step = at.indices(len(self))
        last = max(first, last)
        if step != 1:
            raise UsageError(f"a slice of frames must have step 1, got {step}")
        starts, box_starts, boxes = self.starts[first : last + 1], None, None
        base = self.starts[0]
        if self.box_starts is not None and self.boxes is not None:
            box_starts = self.box_starts[first : last + 1]
            low = self.box_starts[0]
            boxes = self.boxes[box_starts[0] - low : box_starts[-1] - low]
        return Frames(
            keys=self.keys[first:last],
            fields={name: part_of(each, slice(first, last)) for name, each in self.fields.items()},
            starts=starts,
            rows=self.rows.part(slice(starts[0] - base, starts[-1] - base)),
            box_starts=box_starts,
            boxes=boxes,
            relative=self.relative,
        )

    def __iter__(self) -> Iterator[Frame]:
        for first in range(0, len(self), _CHUNK):
            yield from self[first : first + _CHUNK]._objects()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(_same, self, other))

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def _objects(self) -> Iterator[Frame]:
        rows, starts = self.rows.objects(), (self.starts - self.starts[0]).tolist()
        known, ends = None, starts
        if self.box_starts is not None and self.boxes is not None:
            known = list(map(Box._make, self.boxes.tolist()))
            ends = (self.box_starts - self.box_starts[0]).tolist()
        fields = _fields_of(self.fields, len(self))
        for at, (key, shared) in enumerate(zip(self.keys, fields, strict=True)):
            own = tuple(rows[starts[at] : starts[at + 1]])
            boxes = (
                tuple(row.box for row in own if row.box is not None)
                if known is None
                else tuple(known[ends[at] : ends[at + 1]])
            )
            yield Frame(key=key, fields=shared, rows=own, boxes=boxes, relative=self.relative)


def _same(one: object, other: object) -> bool:
    return one == other


def _kind(number: int) -> Kind:
    return _KINDS[number]


def _texts(column: Coded[str]) -> list[str]:
    return [text or "" for text in cells_of(column)]


def _coded(column: Coded[str], rows: slice | Ints) -> Coded[str]:
    return Coded(codes=column.codes[rows], categories=column.categories)


def texts_of(texts: Texts, rows: slice | Ints) -> Texts:
    """The texts of some rows."""
    return texts[rows] if isinstance(rows, slice) else Texts.of(texts[row] for row in rows.tolist())


def _maps(records: Texts) -> list[Mapping[str, Any]]:
    return [dict(cell_value(record)) for record in records]


def field_name(name: str) -> str:
    """What records call a source's column."""
    return f"src_{name}" if name in _OWN else name


def _fields_of(columns: Mapping[str, Column], many: int) -> Iterable[Mapping[str, Any]]:
    """The fields of each row or frame; those that are missing are left out."""
    if not columns:
        return repeat(_NO_FIELDS, many)
    names = [*map(field_name, columns)]
    return (
        {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        for cells in zip(*map(cells_of, columns.values()), strict=True)
    )
