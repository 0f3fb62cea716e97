"""The atmaCup #22 layout: train_meta.csv beside a folder of frames."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from builders.columns import Coded, Column, Ints
from builders.sources._atmacup_pictures import Pictures, pictures_at
from builders.sources._options import add_first_frame, add_root
from builders.sources._protocol import Listing, Options
from builders.sources._rows import Bools, RowTable
from builders.sources._table import (
    Floats,
    Number,
    Reasons,
    Table,
    further_column,
    numbers_of,
    read_table,
    text_column,
)
from builders.text_storage import PythonTexts
from builders.tracks import BBOX_MODE_HELP, BBOX_MODES, BboxMode, clean_tracks
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import DuplicateSampleError, UsageError
from lmdb_reid.schema import NO_LABEL, Roles

_FRAME = ("quarter", "angle", "session", "frame")
_BOX = ("x", "y", "w", "h")
_NEEDED = (*_FRAME, *_BOX, "label_id")
_TEXT = ("quarter", "angle")
_SIDE = Number(farthest=1 << 31)
_NUMBERS = {  # the label last: see `_unlabelled`
    "session": Number(whole=True),
    "frame": Number(whole=True),
    "x": _SIDE,
    "y": _SIDE,
    "w": Number(above=0, farthest=1 << 31),
    "h": Number(above=0, farthest=1 << 31),
    "label_id": Number(whole=True, least=NO_LABEL),
}


class AtmaCup:
    """train_meta.csv (`quarter,angle,session,frame,x,y,w,h,label_id`, top-left pixels) and frames
    named `{quarter}__{angle}__{session:02d}__{frame:02d}.jpg`; numbers without leading zeros are
    found too. Or videos named `{quarter}__{angle}__{session:02d}.mp4`, in which `frame` counts.

    Args:
        train_meta: the csv.
        img_root: the folder of the frames or videos, or one video.
        bbox_mode: what happens to boxes much larger than their track's median: "drop", "interp" or
            "keep".
        area_multiplier: how much larger.
        first_frame: of videos, the number of the first frame: 0 or 1.
    """

    name = "atmacup"
    roles = Roles(camera="angle", group=("quarter",), time=("session", "frame"))

    @known_arguments()
    def __init__(
        self,
        train_meta: str | os.PathLike[str],
        img_root: str | os.PathLike[str],
        *,
        bbox_mode: BboxMode = "drop",
        area_multiplier: float = 2.0,
        first_frame: int | None = None,
    ) -> None:
        self.train_meta = Path(train_meta)
        self.img_root = Path(img_root)
        self.bbox_mode = bbox_mode
        self.area_multiplier = area_multiplier
        self.first_frame = first_frame

    @classmethod
    def configure(cls, options: Options) -> None:
        """The csv, the folder of frames, and what becomes of outliers."""
        add = options.add_argument
        add("--train-meta", metavar="CSV", help=f"read this csv of {','.join(_NEEDED)}")
        add("--img-root", metavar="DIR", help="read frames or videos in this folder, or one video")
        add_root(options, "read train_meta.csv and images in this folder, instead of the two above")
        add_first_frame(options)
        add("--bbox-mode", choices=BBOX_MODES, default="drop", help=BBOX_MODE_HELP)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: no csv, or no folder.
        """
        train_meta, img_root = args.train_meta, args.img_root
        if args.root:
            train_meta = train_meta or Path(args.root, "train_meta.csv")
            img_root = img_root or Path(args.root, "images")
        if not train_meta or not img_root:
            raise UsageError("--format atmacup needs --train-meta CSV and --img-root DIR")
        return cls(train_meta, img_root, bbox_mode=args.bbox_mode, first_frame=args.first_frame)

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether the folder has a train_meta.csv whose first line names the columns."""
        try:
            with (root / "train_meta.csv").open(encoding="utf-8-sig") as file:
                header = re.split("[,;\t]", file.readline(10_000).strip())
        except (OSError, UnicodeDecodeError):
            return ""
        if not {*_NEEDED} <= {*header}:
            return ""
        return f"train_meta.csv has the columns {', '.join(_NEEDED)}"

    @PythonTexts()
    def read(self) -> Listing:
        """List the frames and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no csv, or no folder of frames.
            SourceError: the csv cannot be read, lacks a column or has no rows, or a video's frames
                are counted otherwise.
            DuplicateSampleError: two frames of the csv are one image.
            UsageError: frames are in videos, and nothing says how they are counted.
        """
        csv = read_table(self.train_meta, _NEEDED, option="--train-meta")
        rows, reasons = _typed(csv)
        unlabelled = np.array([reason.startswith("label_id") for reason in reasons], np.bool_)
        pictures = pictures_at(self.img_root, self.first_frame, rows[reasons == ""])
        names = _Names(rows, pictures)
        absent = [pictures.absence(key) for key in names.keys]
        for at in np.flatnonzero(reasons == "").tolist():
            reasons[at] = absent[names.codes[at]]
        usable = reasons == ""
        _refuse_shared_images(rows[usable], names, csv)
        cleaned = clean_tracks(rows[usable], self.bbox_mode, area_multiplier=self.area_multiplier)
        outliers = np.zeros(len(csv), np.bool_)
        outliers[usable] = cleaned["fate"] == "outlier"
        box = _boxes(rows)
        table = self._table(csv, rows, names, np.copy(box), usable)
        table.box[usable] = _boxes(cleaned)
        frames = table.frames(usable & ~outliers, usable | unlabelled, box, listed=usable)
        oversized = f"its area is over {self.area_multiplier:g} times the median of its track"
        counted = {} if self.first_frame is None else {"first_frame": self.first_frame}
        return Listing(
            frames=frames,
            medium=pictures.medium(frames.keys),
            rows=len(csv),
            skipped=table.rejected(reasons),
            dropped=table.rejected(np.where(outliers, oversized, "").astype(object)),
            inputs={"train_meta": csv.digest},
            settings={
                "format": self.name,
                "bbox_mode": self.bbox_mode,
                "area_multiplier": self.area_multiplier,
                **counted,
            },
            places={
                "train_meta": str(self.train_meta.absolute()),
                "img_root": str(self.img_root.absolute()),
            },
        )

    def _table(
        self, csv: Table, rows: pd.DataFrame, names: _Names, box: Floats, usable: Bools
    ) -> RowTable:
        shared: dict[str, Column] = {name: text_column(rows[name]) for name in _TEXT}
        shared |= {name: _whole(rows[name], usable) for name in ("session", "frame")}
        return RowTable(
            keys=names.keys,
            frame=names.codes,
            label=_whole(rows["label_id"], usable),
            box=box,
            document=Coded(
                codes=np.zeros(len(csv), np.int32), categories=(f"{csv.path.name} line",)
            ),
            entry=csv.lines,
            shared=shared,
            fields={
                str(name): further_column(csv.cells[name])
                for name in csv.cells.columns
                if name not in _NEEDED
            },
        )


def _typed(table: Table) -> tuple[pd.DataFrame, Reasons]:
    """The needed columns, numbers as numbers, and for each row why it cannot be used."""
    reasons: Reasons = np.full(len(table), "", object)
    rows = table.cells[[*_TEXT]].copy()
    for name in _TEXT:
        reasons[(rows[name] == "").to_numpy() & (reasons == "")] = f"{name} is missing"
    for name, rule in _NUMBERS.items():
        rows[name] = numbers_of(table, name, rule, reasons)
    return rows, reasons


class _Names:
    """The key of each row's frame: codes [N] into the keys of the frames as they first appear."""

    def __init__(self, rows: pd.DataFrame, pictures: Pictures) -> None:
        by_frame = rows.groupby([*_FRAME], sort=False, dropna=False)
        self.codes: Ints = by_frame.ngroup().to_numpy(np.int64)
        firsts = rows[[*_FRAME]].iloc[np.unique(self.codes, return_index=True)[1]]
        self.keys = [*map(pictures.key, firsts.itertuples(index=False, name=None))]


def _refuse_shared_images(usable: pd.DataFrame, names: _Names, table: Table) -> None:
    """Two frames of the csv, such as session 1 and session 01, must not be one image."""
    first: dict[str, int] = {}
    codes, firsts = np.unique(names.codes[usable.index], return_index=True)
    for code, row in sorted(
        zip(codes, usable.index[firsts], strict=True), key=lambda pair: pair[1]
    ):
        earlier = first.setdefault(names.keys[code], row)
        if earlier != row:
            raise DuplicateSampleError(
                f"lines {table.lines[earlier]} and {table.lines[row]} of the csv name different"
                f" frames, but one image: {names.keys[code]}; their samples would have the same ids"
            )


def _whole(column: pd.Series[float], good: Bools) -> Ints:
    """A column of whole numbers [N]; 0 in rows that cannot be used."""
    return np.where(good, column.to_numpy(np.float64), 0).astype(np.int64)


def _boxes(rows: pd.DataFrame) -> Floats:
    boxes: Floats = rows[[*_BOX]].to_numpy(np.float64)
    return boxes
