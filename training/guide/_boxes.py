"""A store's samples as the guide's code names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from builders.samples import BoxSample
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Rows
from training.data import Samples
from training.guide._crops import BoxSamples
from training.guide._tracks import NAMES, Place, frame_name

_WHOLE = 1 << 53


def boxes_of(
    samples: Samples, rows: Rows, classes: Rows, img_root: Place | None = None
) -> list[BoxSample]:
    """Some samples; `label_id` is the place of their label in `classes`, or -1.

    Their `img_path` is the frame, where the layout has it below `img_root`; the crop, of samples
    that are files.

    Raises:
        UsageError: the store has no such columns.
    """
    columns: dict[str, list[Any]] = {}
    for name in (*NAMES[:-1], "label", "kind"):
        values = samples.column(name)
        if values is None:
            raise UsageError(
                f"train_samples and val_samples need the columns of --format atmacup; {samples!r}"
                f" has no {name!r}"
            )
        columns[name] = values[rows].tolist()
    place = {int(label): number for number, label in enumerate(classes.tolist())}
    kinds = [Kind(kind) for kind in columns.pop("kind")]
    labels = [place.get(int(label), NO_LABEL) for label in columns.pop("label")]
    found = []
    for row, kind, label, cells in zip(
        rows.tolist(), kinds, labels, zip(*columns.values(), strict=True), strict=True
    ):
        quarter, angle, session, frame, x, y, w, h = cells
        named = (str(quarter), str(angle), int(session), int(frame))
        sides = _number(x), _number(y), _number(w), _number(h)
        path = (
            samples.boxes[row].img_path
            if isinstance(samples, BoxSamples)
            else os.fspath(Path(img_root or "") / frame_name(*named))
        )
        found.append(BoxSample(*named, *sides, label, path, kind, samples.ids[row]))
    return found


def _number(side: float) -> float:
    return int(side) if np.isfinite(side) and side == int(side) and abs(side) < _WHOLE else side
