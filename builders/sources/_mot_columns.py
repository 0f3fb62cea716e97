"""The columns of sequences: what gt.txt and the ini files say of a row and its frame.

Shapes are given in brackets: N rows of all sequences together.
"""

from __future__ import annotations

import numpy as np

from builders.columns import Coded, Column, Ints, column_of
from builders.sources._gt import CLASS, FRAME, TRACK, VISIBILITY
from builders.sources._rows import Bools
from builders.sources._sequence import Sequence
from builders.sources._table import Floats


def shared_columns(found: list[Sequence], which: Ints, cells: Floats) -> dict[str, Column]:
    """Columns of the frames: the sequence, the number, and the split where there is one.

    Args:
        found: the sequences.
        which: [N]: the sequence of each row.
        cells: [N, 9]: the rows.
    """
    codes = which.astype(np.int32)
    columns: dict[str, Column] = {
        "sequence": Coded(codes=codes, categories=tuple(one.folder.name for one in found)),
        "frame": cells[:, FRAME].astype(np.int64),
    }
    if any(one.split for one in found):
        splits = column_of([one.split or None for one in found])
        assert isinstance(splits, Coded)
        columns["split"] = Coded(codes=splits.codes[which], categories=splits.categories)
    return columns


def row_columns(found: list[Sequence], which: Ints, cells: Floats) -> dict[str, Column]:
    """Columns of the rows: the track, and what is said of it."""
    pairs = [*zip(which.tolist(), cells[:, TRACK].astype(np.int64).tolist(), strict=True)]
    columns: dict[str, Column] = {
        "track": column_of(
            [f"{found[at].path}/{track}" if track >= 0 else None for at, track in pairs]
        )
    }
    if (cells[:, CLASS] >= 0).any():
        columns["class"] = cells[:, CLASS].astype(np.int64)
    if (cells[:, VISIBILITY] >= 0).any():
        columns["visibility"] = cells[:, VISIBILITY]
    for name, at_what in (("role", 0), ("shirt", 1)):
        texts = [found[at].game.get(track, ("", ""))[at_what] or None for at, track in pairs]
        if any(texts):
            columns[name] = column_of(texts)
    return columns


def balls_of(found: list[Sequence]) -> Bools:
    """Whether a row's track is what gameinfo.ini calls a ball [N]."""
    return np.concatenate(
        [
            np.isin(
                one.tracks.cells[:, TRACK],
                [track for track, (role, _) in one.game.items() if role == "ball"],
            )
            for one in found
        ]
    )
