"""Rows of boxes as a table names them, and the frames that they make.

Shapes are given in brackets: N rows of the source, usable or not; F frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from builders.columns import Coded, Column, Ints, Texts, part_of
from builders.sources._frame import Rejected
from builders.sources._frames import BoxRows, Frames, texts_of
from builders.sources._table import Floats, Reasons

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowTable:
    """All rows of a source, in its own order, as columns."""

    keys: Sequence[str]
    """Of the frames that rows name, each once, in any order."""
    frame: Ints
    """[N], into `keys`."""
    label: Ints
    """[N]"""
    box: Floats
    """[N, 4]: what to cut; NaN in all four is the whole picture."""
    document: Coded[str]
    """[N]: what a row is an entry of, in words: "gt.txt line"."""
    entry: Ints
    """[N]: its number there."""
    kind: npt.NDArray[np.uint8] | None = None
    """[N]; None: all are people."""
    shared: Mapping[str, Column] = field(default_factory=dict)
    """[N] each: columns of which all rows of a frame have the same cell."""
    fields: Mapping[str, Column] = field(default_factory=dict)
    """[N] each: columns of the rows' own."""
    records: Texts | None = None
    """[N]: as `BoxRows` has them."""
    relative: bool = False
    """Boxes are in shares of the picture's width and height."""

    def __len__(self) -> int:
        return len(self.frame)

    def where(self, row: int) -> str:
        """Where the source has a row, in words."""
        return f"{self.document.categories[self.document.codes[row]]} {self.entry[row]}"

    def rejected(self, reasons: Reasons) -> list[Rejected]:
        """The rows that have a reason [N]."""
        rows = np.flatnonzero(reasons != "").tolist()
        return [
            Rejected(self.where(row), self.keys[int(self.frame[row])], reasons[row]) for row in rows
        ]

    def frames(
        self,
        kept: Bools,
        known: Bools,
        boxes: Floats | None = None,
        *,
        listed: Bools | None = None,
    ) -> Frames:
        """The frames of some of the rows.

        Args:
            kept: [N]: rows to cut.
            known: [N]: rows whose box is known, cut or not.
            boxes: [N, 4]: these boxes (default: `box`).
            listed: [N]: rows whose frames are listed, if nothing is cut from them too; `kept`
                unless given.
        """
        boxes = self.box if boxes is None else boxes
        listed = kept if listed is None else listed
        keys = sorted(self.keys[code] for code in np.unique(self.frame[listed]).tolist())
        place = {key: at for at, key in enumerate(keys)}  # utf-8 keeps the order of code points
        frame_of_key = np.array([place.get(key, -1) for key in self.keys], np.int64)
        frame_N = frame_of_key[self.frame]

        def by_frame(chosen: Bools) -> tuple[Ints, Ints]:
            rows = np.flatnonzero(chosen & (frame_N >= 0))
            rows = rows[np.argsort(frame_N[rows], kind="stable")]
            return rows, np.searchsorted(frame_N[rows], np.arange(len(keys) + 1))

        rows, starts = by_frame(kept)
        boxed, box_starts = by_frame(known & ~np.isnan(boxes[:, 0]))
        firsts = by_frame(listed)
        shared = firsts[0][firsts[1][:-1]]
        number = pd.Series(self.frame).groupby(self.frame).cumcount().to_numpy(np.int64)
        return Frames(
            keys=Texts.of(keys),
            fields={name: part_of(column, shared) for name, column in self.shared.items()},
            starts=starts,
            rows=BoxRows(
                number=number[rows],
                label=self.label[rows],
                box=self.box[rows],
                order=rows,
                kind=None if self.kind is None else self.kind[rows],
                document=Coded(
                    codes=self.document.codes[rows], categories=self.document.categories
                ),
                entry=self.entry[rows],
                fields={name: part_of(column, rows) for name, column in self.fields.items()},
                records=None if self.records is None else texts_of(self.records, rows),
            ),
            box_starts=box_starts,
            boxes=boxes[boxed],
            relative=self.relative,
        )

    def differing(self, column: Column, rows: Bools) -> Iterator[tuple[int, int]]:
        """Pairs of rows of one frame whose cells of a column differ: the frame's first, and one."""
        codes = column.codes if isinstance(column, Coded) else column
        if codes.dtype.kind == "f":  # NaN, a missing cell, is like another one
            codes = np.where(np.isnan(codes), np.inf, codes)
        chosen = np.flatnonzero(rows)
        _, firsts, at = np.unique(self.frame[chosen], return_index=True, return_inverse=True)
        first = chosen[firsts[at]]
        for place in np.flatnonzero(codes[chosen] != codes[first]).tolist():
            yield int(first[place]), int(chosen[place])
