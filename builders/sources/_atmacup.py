"""The atmaCup #22 layout: train_meta.csv beside a folder of frames."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from builders.columns import Coded, Column, Ints, TextMap, Texts, part_of
from builders.media import Files, image_names
from builders.sources._frame import Rejected
from builders.sources._frames import BoxRows, Frames
from builders.sources._protocol import Listing, Options
from builders.sources._table import (
    Number,
    Reasons,
    Table,
    further_column,
    numbers_of,
    read_table,
    text_column,
)
from builders.tracks import BBOX_MODE_HELP, BBOX_MODES, BboxMode, clean_tracks
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
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # in this order, where a stem has several


class AtmaCup:
    """train_meta.csv (`quarter,angle,session,frame,x,y,w,h,label_id`, top-left pixels) and frames
    named `{quarter}__{angle}__{session:02d}__{frame:02d}.jpg`; numbers without leading zeros are
    found too.

    Args:
        train_meta: the csv.
        img_root: the folder of the frames.
        bbox_mode: what happens to boxes much larger than their track's median: "drop", "interp" or
            "keep".
        area_multiplier: how much larger.
    """

    name = "atmacup"
    roles = Roles(camera="angle", group=("quarter",), time=("session", "frame"))

    def __init__(
        self,
        train_meta: str | os.PathLike[str],
        img_root: str | os.PathLike[str],
        *,
        bbox_mode: BboxMode = "drop",
        area_multiplier: float = 2.0,
    ) -> None:
        self.train_meta = Path(train_meta)
        self.img_root = Path(img_root)
        self.bbox_mode = bbox_mode
        self.area_multiplier = area_multiplier

    @classmethod
    def configure(cls, options: Options) -> None:
        """The csv, the folder of frames, and what becomes of outliers."""
        add = options.add_argument
        add("--train-meta", metavar="CSV", help=",".join(_NEEDED))
        add("--img-root", metavar="DIR", help="the folder of the frames")
        add(
            "--root", metavar="DIR", help="instead of both: the folder of train_meta.csv and images"
        )
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
        return cls(train_meta, img_root, bbox_mode=args.bbox_mode)

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether the folder has a train_meta.csv whose first line names the columns."""
        try:
            with (root / "train_meta.csv").open(encoding="utf-8-sig") as file:
                header = file.readline(10_000).strip().split(",")
        except (OSError, UnicodeDecodeError):
            return ""
        if not {*_NEEDED} <= {*header}:
            return ""
        return f"train_meta.csv has the columns {', '.join(_NEEDED)}"

    def read(self) -> Listing:
        """List the frames and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no csv, or no folder of frames.
            SourceError: the csv cannot be read, lacks a column or has no rows.
            DuplicateSampleError: two frames of the csv are one image.
        """
        table = read_table(self.train_meta, _NEEDED, option="--train-meta")
        images = images_by_stem(self.img_root)
        rows, reasons = _typed(table)
        names = _frame_names(rows, images)
        absent = np.array([key not in images for key in names.keys], np.bool_)[names.codes]
        for at in np.flatnonzero(absent & (reasons == "")).tolist():
            reasons[at] = f"its frame {names.key(at)} is not in {self.img_root}"
        usable = reasons == ""
        _refuse_shared_images(rows[usable], names, table)
        cleaned = clean_tracks(rows[usable], self.bbox_mode, area_multiplier=self.area_multiplier)
        frames = _frames(table, rows, reasons, cleaned, names)
        oversized = f"its area is over {self.area_multiplier:g} times the median of its track"

        def rejected(row: int, reason: str) -> Rejected:
            return Rejected(
                f"{self.train_meta.name} line {table.lines[row]}", names.key(row), reason
            )

        return Listing(
            frames=frames,
            medium=Files(self.img_root, TextMap((key, images[key]) for key in frames.keys)),
            rows=len(table),
            skipped=[rejected(row, reasons[row]) for row in np.flatnonzero(~usable).tolist()],
            dropped=[
                rejected(row, oversized) for row in cleaned.index[_outliers(cleaned)].tolist()
            ],
            inputs={"train_meta": table.digest},
            settings={
                "format": self.name,
                "bbox_mode": self.bbox_mode,
                "area_multiplier": self.area_multiplier,
            },
            places={
                "train_meta": str(self.train_meta.absolute()),
                "img_root": str(self.img_root.absolute()),
            },
        )


def images_by_stem(folder: Path) -> dict[str, str]:
    """The image of each stem in a folder; of several, the first of `_SUFFIXES`."""
    names = image_names(folder, option="--img-root")
    found: dict[str, str] = {}
    for suffix in reversed(_SUFFIXES):
        found |= {name[: -len(suffix)]: name for name in names if name.lower().endswith(suffix)}
    return found


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

    def __init__(self, codes: Ints, keys: list[str], number: Ints) -> None:
        self.codes, self.keys = codes, keys
        self.number = number
        """[N]: the row's position among all rows of its frame."""

    def key(self, row: int) -> str:
        return self.keys[int(self.codes[row])]


def _frame_names(rows: pd.DataFrame, images: dict[str, str]) -> _Names:
    by_frame = rows.groupby([*_FRAME], sort=False, dropna=False)
    codes = by_frame.ngroup().to_numpy(np.int64)
    firsts = rows[[*_FRAME]].iloc[np.unique(codes, return_index=True)[1]]
    keys = [_frame_name(frame, images) for frame in firsts.itertuples(index=False, name=None)]
    return _Names(codes, keys, by_frame.cumcount().to_numpy(np.int64))


def _frame_name(key: Any, images: dict[str, str]) -> str:
    """The stem of a frame's image: with numbers padded to two digits, or as they are, whichever is
    there.
    """
    quarter, angle, session, frame = key
    try:
        padded = f"{quarter}__{angle}__{int(session):02d}__{int(frame):02d}"
        plain = f"{quarter}__{angle}__{int(session)}__{int(frame)}"
    except (ValueError, OverflowError):  # not numbers: the row is skipped for that
        return f"{quarter}__{angle}__{session}__{frame}"
    return plain if plain in images and padded not in images else padded


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


def _frames(
    table: Table, rows: pd.DataFrame, reasons: Reasons, cleaned: pd.DataFrame, names: _Names
) -> Frames:
    """The frames of the usable rows in key order, as LMDB sorts keys; F of them."""
    usable = cleaned.index.to_numpy(np.int64)
    keys = sorted({names.keys[code] for code in np.unique(names.codes[usable]).tolist()})
    place = {key: at for at, key in enumerate(keys)}  # utf-8 keeps the order of code points
    frame_of_name = np.array([place.get(key, -1) for key in names.keys], np.int64)
    frame_N = frame_of_name[names.codes]

    def by_frame(chosen: Ints) -> tuple[Ints, Ints]:
        order = chosen[np.argsort(frame_N[chosen], kind="stable")]
        return order, np.searchsorted(frame_N[order], np.arange(len(keys) + 1))

    kept, starts = by_frame(usable[~_outliers(cleaned)])
    unlabelled = np.array([reason.startswith("label_id") for reason in reasons], np.bool_)
    known = ((reasons == "") | unlabelled) & (frame_N >= 0)  # frame and box are
    boxed, box_starts = by_frame(np.flatnonzero(known))
    firsts = by_frame(usable)
    shared = rows.iloc[firsts[0][firsts[1][:-1]]]
    fields: dict[str, Column] = {name: text_column(shared[name]) for name in _TEXT}
    fields |= {name: shared[name].to_numpy(np.int64) for name in ("session", "frame")}
    return Frames(
        keys=Texts.of(keys),
        fields=fields,
        starts=starts,
        rows=BoxRows(
            number=names.number[kept],
            label=rows["label_id"].to_numpy()[kept].astype(np.int64),
            box=_boxes(cleaned.loc[kept]),
            order=kept,
            document=Coded(
                codes=np.zeros(len(kept), np.int32), categories=(f"{table.path.name} line",)
            ),
            entry=table.lines[kept],
            fields={
                str(name): part_of(further_column(table.cells[name]), kept)
                for name in table.cells.columns
                if name not in _NEEDED
            },
        ),
        box_starts=box_starts,
        boxes=_boxes(rows.iloc[boxed]),
    )


def _outliers(cleaned: pd.DataFrame) -> npt.NDArray[np.bool_]:
    outliers: npt.NDArray[np.bool_] = (cleaned["fate"] == "outlier").to_numpy()
    return outliers


def _boxes(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    boxes: npt.NDArray[np.float64] = rows[[*_BOX]].to_numpy(np.float64)
    return boxes
