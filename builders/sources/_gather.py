"""Single frames into columns: for sources that would rather not think in columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import Any

import numpy as np

from builders.columns import Coded, Column, Ints, Texts, column_of, part_of
from builders.sources._frame import BoxRow, Frame
from builders.sources._frames import BoxRows, Frames

_WHOLE = (float("nan"),) * 4


def frames_of(frames: Iterable[Frame]) -> Frames:
    """Frames in any order as columns; each is forgotten when the next one comes.

    Rows without an `order` have that in which they come here.
    """
    keys: list[str] = []
    starts, box_starts, boxes = array("q", [0]), array("q", [0]), array("d")
    shared, rows, own = _Table(), _Rows(), True
    for frame in frames:
        keys.append(frame.key)
        shared.add(frame.fields)
        for row in frame.rows:
            rows.add(row)
        starts.append(rows.many)
        boxes.extend(chain.from_iterable(frame.boxes))
        box_starts.append(len(boxes) // 4)
        own = own and frame.boxes == tuple(row.box for row in frame.rows if row.box is not None)
    order = sorted(range(len(keys)), key=lambda at: keys[at].encode("utf-8", "surrogatepass"))
    frame_order = None if order == list(range(len(keys))) else np.array(order, np.int64)
    starts_F, row_order = _ordered(starts, frame_order)
    box_starts_F, box_order = _ordered(box_starts, frame_order)
    boxes_B4 = np.array(boxes, np.float64).reshape(-1, 4)
    return Frames(
        keys=Texts.of(keys[at] for at in order),
        fields=shared.columns(frame_order),
        starts=starts_F,
        rows=rows.columns(row_order),
        box_starts=None if own else box_starts_F,
        boxes=None if own else boxes_B4 if box_order is None else boxes_B4[box_order],
    )


def _ordered(starts: array[int], order: Ints | None) -> tuple[Ints, Ints | None]:
    """Where the frames' parts start once the frames are put in order, and the parts' order."""
    found = np.array(starts, np.int64)
    if order is None:
        return found, None
    lengths = np.diff(found)[order]
    ordered = np.concatenate([[0], lengths.cumsum()])
    return ordered, np.repeat(found[:-1][order] - ordered[:-1], lengths) + np.arange(ordered[-1])


class _Cells:
    """A column that grows; cells that it was not given are missing."""

    def __init__(self) -> None:
        self._codes = array("i")
        self._known: dict[tuple[type, Any], int] = {}

    def put(self, at: int, cell: Any) -> None:
        self._fill(at + 1)
        if cell is not None:
            self._codes[at] = self._known.setdefault((type(cell), cell), len(self._known))

    def column(self, many: int) -> Column:
        self._fill(many)
        values = [cell for _, cell in self._known]
        codes = np.array(self._codes, np.int32)
        plain = column_of(values)
        if isinstance(plain, np.ndarray) and (codes >= 0).all():
            return plain[codes]
        return Coded(codes=codes, categories=tuple(values))

    def _fill(self, many: int) -> None:
        self._codes.extend(repeat(-1, many - len(self._codes)))


class _Table:
    """The fields of rows or frames, as they come."""

    def __init__(self) -> None:
        self._columns: dict[str, _Cells] = {}
        self._many = 0

    def add(self, fields: Mapping[str, Any]) -> None:
        for name, cell in fields.items():
            self._columns.setdefault(name, _Cells()).put(self._many, cell)
        self._many += 1

    def columns(self, order: Ints | None) -> dict[str, Column]:
        found = {name: cells.column(self._many) for name, cells in self._columns.items()}
        if order is None:
            return found
        return {name: part_of(column, order) for name, column in found.items()}


class _Rows:
    """Rows as they come."""

    def __init__(self) -> None:
        self.many = 0
        self._numbers, self._labels, self._orders, self._entries = (array("q") for _ in range(4))
        self._boxes, self._kinds = array("d"), array("B")
        self._documents, self._fields = _Cells(), _Table()

    def add(self, row: BoxRow) -> None:
        self._numbers.append(row.number)
        self._labels.append(row.label)
        self._boxes.extend(_WHOLE if row.box is None else row.box)
        self._kinds.append(row.kind)
        self._orders.append(self.many if row.order < 0 else row.order)
        self._entries.append(row.entry)
        self._documents.put(self.many, row.document or None)
        self._fields.add(row.fields)
        self.many += 1

    def columns(self, order: Ints | None) -> BoxRows:
        documents = self._documents.column(self.many)
        has_documents = isinstance(documents, Coded) and bool(documents.categories)
        rows = BoxRows(
            number=np.array(self._numbers, np.int64),
            label=np.array(self._labels, np.int64),
            box=np.array(self._boxes, np.float64).reshape(-1, 4),
            order=np.array(self._orders, np.int64),
            kind=np.array(self._kinds, np.uint8),
            document=documents if isinstance(documents, Coded) and has_documents else None,
            entry=np.array(self._entries, np.int64) if has_documents else None,
            fields=self._fields.columns(None),
        )
        return rows if order is None else rows.part(order)
