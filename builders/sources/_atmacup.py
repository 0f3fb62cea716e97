"""The atmaCup #22 layout: train_meta.csv beside a folder of frames."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from builders.sources._protocol import BoxRow, Frame, LeftOut, Listing
from builders.tracks import BboxMode, clean_tracks
from lmdb_reid.errors import DuplicateSampleError, SourceError, SourceNotFoundError
from lmdb_reid.schema import NO_LABEL, Box, Kind

_FRAME = ["quarter", "angle", "session", "frame"]
_BOX = ["x", "y", "w", "h"]
_NEEDED = [*_FRAME, *_BOX, "label_id"]
_WHOLE = ["session", "frame", "label_id"]
_FARTHEST = dict.fromkeys(_WHOLE, 1 << 53) | dict.fromkeys(_BOX, 1 << 31)
_LEAST = {"w": 0, "h": 0, "label_id": NO_LABEL - 1}  # and more than this
_EXTRA = "csv:"  # before the names of the csv's further columns, lest one is called as ours are
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

    def read(self) -> Listing:
        """List the frames and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no csv, or no folder of frames.
            SourceError: the csv cannot be read, lacks a column or has no rows.
            DuplicateSampleError: two frames of the csv are one image.
        """
        text = _read_csv_bytes(self.train_meta)
        images = images_by_stem(self.img_root)
        table, reasons = _typed(_parse_csv(self.train_meta, text))
        by_frame = table.groupby(_FRAME, sort=False, dropna=False)
        numbers = by_frame.ngroup().to_numpy()  # of frames, as they first appear
        firsts = table[_FRAME].iloc[np.unique(numbers, return_index=True)[1]]
        keys = [_frame_name(frame, images) for frame in firsts.itertuples(index=False, name=None)]
        table["key"] = np.array(keys, object)[numbers]
        table["number"] = by_frame.cumcount()
        absent = np.array([key not in images for key in keys])[numbers]
        for at in np.flatnonzero(absent & (reasons == "")):
            reasons[at] = f"its frame {keys[numbers[at]]} is not in {self.img_root}"
        usable = table[reasons == ""]
        unlabelled = [reason.startswith("label_id") for reason in reasons]
        known = table[(reasons == "") | unlabelled]  # frame and box are
        if len({*keys}) < len(keys):
            _refuse_shared_images(usable)
        cleaned = clean_tracks(usable, self.bbox_mode, area_multiplier=self.area_multiplier)
        outlier = cleaned["fate"] == "outlier"
        return Listing(
            frames=list(_frames(cleaned, known, self.img_root, images)),
            rows=len(table),
            skipped=[
                LeftOut(line, key, reason)
                for line, key, reason in zip(
                    table["line"].to_list(), table["key"].to_list(), reasons, strict=True
                )
                if reason
            ],
            dropped=[
                LeftOut(
                    line,
                    key,
                    f"its area is over {self.area_multiplier:g} times the median of its track",
                )
                for line, key in zip(cleaned["line"][outlier], cleaned["key"][outlier], strict=True)
            ],
            inputs={"train_meta": hashlib.sha256(text).hexdigest()},
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


def _read_csv_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SourceNotFoundError(f"no csv at {path} (--train-meta)") from None
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror} (--train-meta names the csv file)"
        ) from None


def _parse_csv(path: Path, text: bytes) -> pd.DataFrame:
    """All cells as text, with the line each row stands on; blank lines are no rows."""
    try:
        table = pd.read_csv(
            io.BytesIO(text),
            dtype=object,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise SourceError(f"{path} is no usable csv: {error}") from None
    header = _header(path, text)  # pandas renames what stands twice
    twice = [name for at, name in enumerate(header) if name in header[:at]]
    if twice:
        raise SourceError(f"{path} has more than one column {', '.join(map(repr, twice))}")
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        hint = " (cells are separated by commas)" if table.shape[1] == 1 else ""
        raise SourceError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(map(str, table.columns))}{hint}"
        )
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first cells for row names
        raise SourceError(f"{path} has more cells in its rows than names in its header")
    blank = np.logical_and.reduce([table[name].to_numpy() == "" for name in table.columns])
    if blank.all():
        raise SourceError(f"{path} has no rows")
    lines = np.arange(2, len(table) + 2)
    if b'"' in text:  # then a cell may hold line breaks
        breaks = table.apply(lambda cells: cells.str.count("\n")).sum(axis=1)
        lines += (breaks.cumsum() - breaks).to_numpy(np.int64)
    table = table.rename(columns={name: _EXTRA + name for name in {*table.columns} - {*_NEEDED}})
    return table.assign(line=lines)[~blank].reset_index(drop=True)


def _header(path: Path, text: bytes) -> list[str]:
    lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8-sig", newline="")
    try:
        return next(csv.reader(lines), [])
    except csv.Error as error:
        raise SourceError(f"{path} is no usable csv: {error}") from None


def _typed(table: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.object_]]:
    """Numbers as numbers, and for each row why it cannot be used ("" where it can)."""
    reasons = np.full(len(table), "", object)
    for name in ("quarter", "angle"):
        reasons[(table[name] == "") & (reasons == "")] = f"{name} is missing"
    for name in ["session", "frame", *_BOX, "label_id"]:  # the label last: see `known`
        # Always floats, lest the text of one row decide how the digits of all others are read.
        number = _numbers(table[name].to_list())
        usable = np.abs(number) < _FARTHEST[name]  # NaN is not
        if name in _WHOLE:
            usable &= np.floor(number) == number
        if name in _LEAST:
            usable &= number > _LEAST[name]
        for at in np.flatnonzero(~usable):
            reasons[at] = (
                reasons[at] or f"{name} is {_fault(name, table[name].iloc[at].strip(), number[at])}"
            )
        table[name] = number
    for name in _extra(table):
        cells = table[name].mask(table[name] == "")  # missing, whatever the others are
        number = pd.to_numeric(cells, errors="coerce")
        exact = number.dtype.kind in "iu" or not (number.abs() >= 1 << 53).any()
        table[name] = number if exact and number.notna().equals(cells.notna()) else cells
    return table, reasons


def _numbers(cells: list[str]) -> npt.NDArray[np.float64]:
    """What the cells of a column say; NaN where that is no number."""
    together = "".join(cells)
    if together.isascii() and "_" not in together:
        try:
            return np.array(list(map(float, cells))) + 0.0  # no -0.0
        except ValueError:
            pass  # one of them is at fault
    return np.array(list(map(_number, cells))) + 0.0


def _number(text: str) -> float:
    text = text.strip()
    if "_" in text or not text.isascii():  # Python would read 1_000, and digits of every script
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def _fault(name: str, text: str, number: float) -> str:
    """Why an unusable cell of a column is that."""
    if not text:
        return "missing"
    if not math.isfinite(number):
        return f"'{text}', which is no finite number"
    if abs(number) >= _FARTHEST[name]:
        return f"{text}, which is out of range"
    if name in _WHOLE and number % 1:
        return f"'{text}', which is no whole number"
    return f"{text}, which is {'below -1' if name == 'label_id' else 'not above 0'}"


def _extra(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name.startswith(_EXTRA)]


def images_by_stem(folder: Path) -> dict[str, str]:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        raise SourceNotFoundError(f"no folder of frames at {folder} (--img-root)") from None
    except OSError as error:
        raise SourceError(
            f"{folder} cannot be listed: {error.strerror} (--img-root names the folder)"
        ) from None
    found: dict[str, str] = {}
    for suffix in reversed(_SUFFIXES):
        found |= {name[: -len(suffix)]: name for name in names if name.lower().endswith(suffix)}
    return found


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


def _refuse_shared_images(usable: pd.DataFrame) -> None:
    frames = usable.drop_duplicates(_FRAME)
    doubled = frames[frames["key"].duplicated(keep=False)].head(2)
    if len(doubled):
        one, other = doubled["line"]
        raise DuplicateSampleError(
            f"lines {one} and {other} of the csv name different frames, but one image:"
            f" {doubled['key'].iloc[0]};"
            " their samples would have the same ids"
        )


def _frames(
    cleaned: pd.DataFrame, known: pd.DataFrame, root: Path, images: dict[str, str]
) -> Iterator[Frame]:
    """The frames in key order, as LMDB sorts keys."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for key, box in zip(known["key"].tolist(), _boxes(known), strict=True):
        boxes[key].append(box)
    rows: dict[str, list[BoxRow]] = {key: [] for key in cleaned["key"].tolist()}
    kept = cleaned[cleaned["fate"] != "outlier"]
    for key, row in zip(kept["key"].tolist(), _box_rows(kept), strict=True):
        rows[key].append(row)
    firsts = cleaned.drop_duplicates("key")
    shared = dict(zip(firsts["key"].tolist(), firsts[_FRAME].to_numpy().tolist(), strict=True))
    for key in sorted(rows):  # utf-8 keeps the order of code points
        quarter, angle, session, frame = shared[key]
        yield Frame(
            key=key,
            path=root / images[key],
            fields={
                "quarter": quarter,
                "angle": angle,
                "session": int(session),
                "frame": int(frame),
            },
            rows=tuple(rows[key]),
            boxes=tuple(boxes[key]),
        )


def _boxes(table: pd.DataFrame) -> list[Box]:
    return list(map(Box._make, table[_BOX].to_numpy(float).tolist()))


def _box_rows(table: pd.DataFrame) -> list[BoxRow]:
    own = {"label": "src_label", "kind": "src_kind"}  # names that a record uses itself
    names = [name.removeprefix(_EXTRA) for name in _extra(table)]
    names = [own.get(name, name) for name in names]
    fields: list[dict[str, Any]] = [{} for _ in range(len(table))]
    for name, column in zip(names, _extra(table), strict=True):
        filled = np.flatnonzero(table[column].notna())
        for at, cell in zip(filled, table[column].iloc[filled].tolist(), strict=True):
            fields[at][name] = cell
    columns = (
        table["number"].tolist(),
        table["line"].tolist(),
        table["label_id"].astype(np.int64).tolist(),
        _boxes(table),
        [Kind.PERSON] * len(table),
        fields,
    )
    return list(map(BoxRow, *columns))
