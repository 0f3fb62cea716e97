"""Pairs of views: one player at one moment, seen from the side and from the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from builders.samples import BoxSample
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL
from training.guide._dataset import PlayerReIDDataset, Transform

Pair = tuple[BoxSample, BoxSample]
"""(side, top) of one quarter, session, frame and label."""


@known_arguments()
def view_pairs(samples: Sequence[BoxSample]) -> list[Pair]:
    """Every pair of a side and a top sample of one quarter, session, frame and label.

    In the order of the side samples. A sample without its counterpart is in no pair, nor is one
    with label -1: two of them need not show the same person. Where one view has a label twice at
    one moment, each makes a pair.
    """
    tops: dict[tuple[str, int, int, int], list[BoxSample]] = {}
    for sample in samples:
        if sample.angle == "top":
            tops.setdefault(_moment(sample), []).append(sample)
    return [
        (side, top)
        for side in samples
        if side.angle == "side" and side.label_id > NO_LABEL
        for top in tops.get(_moment(side), ())
    ]


@known_arguments()
def build_multiview_pairs(samples: Sequence[BoxSample]) -> list[Pair]:
    """The guide's pairs: of each quarter, session, frame and label the first side and the first top
    sample, in the order of their first samples; label -1 too. See also `view_pairs`.
    """
    found: dict[tuple[str, int, int, int], dict[str, BoxSample]] = {}
    for sample in samples:
        found.setdefault(_moment(sample), {}).setdefault(sample.angle, sample)
    return [
        (views["side"], views["top"])
        for views in found.values()
        if "side" in views and "top" in views
    ]


class MultiViewPlayerReIDDataset(Dataset[tuple[Any, Any, torch.Tensor]]):
    """Two views of a player, each cut out of its frame as it is asked for.

    `dataset[i]` is (side, top, label): two images as `PlayerReIDDataset` gives them, each through
    the transform by itself, and an int64 scalar tensor.

    Args:
        pairs: (side, top) of one player each, as `view_pairs` makes them.
        transform: called with each crop, a PIL image in RGB.
        expand_ratio: boxes are grown by this.

    Raises:
        UsageError: a pair of two labels.
    """

    @known_arguments()
    def __init__(
        self,
        pairs: Sequence[Pair],
        transform: Transform | None = None,
        expand_ratio: float = 1.0,
    ) -> None:
        for number, (side, top) in enumerate(pairs):
            if side.label_id != top.label_id:
                raise UsageError(
                    f"pair {number} is of labels {side.label_id} and {top.label_id}: a pair shows"
                    " one player (view_pairs makes them)"
                )
        self.pairs = pairs
        # Nothing is kept: the cache of PlayerReIDDataset has no limit.
        self._views = tuple(
            PlayerReIDDataset(
                [pair[view] for pair in pairs], transform, expand_ratio, use_cache=False
            )
            for view in range(2)
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Any, Any, torch.Tensor]:
        """(side, top, label) of one pair.

        Raises:
            IndexError: no such pair.
            SourceNotFoundError: a frame is not there.
            ImageError: a frame cannot be decoded.
            SourceError: a box lies outside its frame.
        """
        (side, label), (top, _) = (view[index] for view in self._views)
        return side, top, label


def _moment(sample: BoxSample) -> tuple[str, int, int, int]:
    return sample.quarter, sample.session, sample.frame, sample.label_id
