"""Any csv of images, boxes and identities: the user says which column is which."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd

from builders.columns import Coded, Column, Ints, cells_of
from builders.media import MAX_FRAME, Files, Medium, Videos, frame_key, is_video
from builders.sources._columns_option import ROLES, ColumnRoles, stored_name
from builders.sources._crops import key_of, refuse_shared_identities
from builders.sources._csv_columns import kinds_of, roles_of
from builders.sources._exported import exported_listing, is_export
from builders.sources._identities import Identities
from builders.sources._options import (
    add_first_frame,
    add_root,
    add_shared_identities,
    needed_root,
)
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
)
from builders.sources._tree import below_root, place_of, suffix_of
from builders.sources._video_rows import checked_first_frame
from builders.text_storage import PythonTexts
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import SourceError, UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Roles
from lmdb_reid.store import EXPORT_CSV

Unit = Literal["pixels", "normalised"]

_PIXEL = Number(farthest=1 << 31)
_SHARE = Number(farthest=10)
_FRAME = Number(whole=True, least=0, farthest=MAX_FRAME)


class Csv:
    """A csv whose columns are named by the user, and images, or videos, below a folder.

    Labels are the numbers in the label's column, where all of them are whole numbers; else each
    name gets one, in sorted order, and the name stays as a column. An empty cell and -1 are people
    whose identity is unknown. All further columns go into the store.

    Args:
        root: the folder that the csv's image paths begin at, or one video.
        csv: the csv; a relative path is also looked for below `root`.
        columns: which column says what; see `ColumnRoles`. Without csv and columns, `root` is what
            `lmdb-reid export` wrote.
        boxes: "normalised": boxes are in shares of the image's width and height.
        shared_identities: accept identities that are in train and in query or gallery too.
        first_frame: of videos, the number of the first frame: 0 or 1.
    """

    name = "csv"
    roles = Roles()

    @known_arguments()
    def __init__(
        self,
        root: Path,
        csv: Path | None = None,
        columns: ColumnRoles | None = None,
        *,
        boxes: Unit = "pixels",
        shared_identities: bool = False,
        first_frame: int | None = None,
    ) -> None:
        if (csv is None) != (columns is None):
            raise UsageError("csv and columns must be passed together, got one of them")
        self.root = Path(root)
        self.csv = Path(csv or EXPORT_CSV)
        self.columns = columns or ColumnRoles({"image": "file"})
        self.boxes = boxes
        self.shared_identities = shared_identities
        self.first_frame = first_frame
        self._is_export = csv is None

    @classmethod
    def configure(cls, options: Options) -> None:
        """The csv, the folder, and the columns' names."""
        add = options.add_argument
        add_root(options, "find the images of the csv below this folder; or read this one video")
        add("--csv", metavar="CSV", help="read this csv; it may be below --root")
        add(
            "--columns",
            metavar="ROLE=NAME,...",
            help=f"name each role's column: {', '.join(ROLES)}; group and time may be repeated",
        )
        add(
            "--boxes",
            choices=("pixels", "normalised"),
            default="pixels",
            help="read boxes in this unit; normalised: shares of the image's width and height"
            " (default: pixels)",
        )
        add_first_frame(options)
        add_shared_identities(options)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: an option is missing.
        """
        root = needed_root(cls.name, args.root)
        if not args.csv and not args.columns and is_export(root):
            return cls(root)
        if not args.csv or not args.columns:
            raise UsageError(
                "--format csv needs --csv CSV and --columns, such as --columns"
                " image=file,x=left,y=top,w=width,h=height,label=player; without them --root must"
                f" be what lmdb-reid export wrote, with a {EXPORT_CSV}"
            )
        path = Path(args.csv)
        return cls(
            root,
            path if path.exists() or not (root / path).exists() else root / path,
            ColumnRoles.parse(args.columns),
            boxes=args.boxes,
            shared_identities=args.shared_identities,
            first_frame=args.first_frame,
        )

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether `lmdb-reid export` wrote it: no other folder says which columns are meant."""
        return f"{EXPORT_CSV} is what lmdb-reid export writes" if is_export(root) else ""

    @PythonTexts()
    def read(self) -> Listing:
        """List the images and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no such csv.
            SourceError: it cannot be read, lacks a column, no image is there, an image has two
                cameras, people are in train and query, or a video's frames are counted otherwise.
            DuplicateSampleError: two images differ in their suffixes alone.
            UsageError: images are videos, and nothing says how their frames are counted.
        """
        if self._is_export:
            return exported_listing(self.name, self.root)
        csv = read_table(self.csv, self.columns.names, option="--csv")
        reasons: Reasons = np.full(len(csv), "", object)
        paths = self._paths(csv)
        for at, path in enumerate(paths):
            reasons[at] = "" if path else "its image must be a path below --root"
        self._find(paths, reasons)
        numbers = self._frame_numbers(csv, paths, reasons)
        box = self._boxes(csv, reasons)
        known = reasons == ""
        keys = [*map(key_of, paths)]
        if numbers is not None:
            keys = [*map(frame_key, keys, numbers.tolist())]
        table = self._table(csv, keys, box, reasons)
        usable = reasons == ""
        self._check(table, usable)
        frames = table.frames(usable, known)
        named = {paths[row] for row in np.flatnonzero(usable).tolist()}
        counted = {} if numbers is None else {"first_frame": self.first_frame}
        return Listing(
            frames=frames,
            medium=self._medium(named, are_videos=numbers is not None),
            rows=len(csv),
            skipped=table.rejected(reasons),
            inputs={"csv": csv.digest},
            settings={
                "format": self.name,
                "columns": dict(self.columns.one),
                "group": list(self.columns.group),
                "time": list(self.columns.time),
                "boxes": self.boxes,
                **counted,
            },
            places={"csv": str(self.csv.absolute()), "root": str(self.root.absolute())},
            roles=roles_of(self.columns, frames),
        )

    @property
    def _folder(self) -> Path:
        """What image paths begin at."""
        return self.root.parent if self.root.is_file() else self.root

    def _paths(self, csv: Table) -> list[str]:
        """The image, or the video, of each row below the folder; "" where it leads out of it."""
        if "image" in self.columns.one:
            return [below_root(path) for path in csv.texts(self.columns.one["image"])]
        if not self.root.is_file():
            raise UsageError(
                "--columns must name the videos' column, image=NAME, or --root one video, got"
                f" {self.root}"
            )
        return [self.root.name] * len(csv)

    def _frame_numbers(self, csv: Table, paths: list[str], reasons: Reasons) -> Ints | None:
        """The frame of each row's video [N]; None where images are files of their own."""
        good = [path for path, reason in zip(paths, reasons, strict=True) if not reason]
        name = self.columns.one.get("frame")
        if name is None:
            for path in filter(is_video, good):
                raise SourceError(
                    f"{path} is a video: --columns must name the column of its frames too,"
                    " frame=NAME"
                )
            return None
        for path in good:
            if not is_video(path):
                raise SourceError(
                    f"frame={name} is for videos, and {path} is not a video. Use time={name}"
                    " if it is the order of images"
                )
        numbers = numbers_of(csv, name, _FRAME, reasons)
        usable = numbers[reasons == ""].astype(np.int64)
        checked_first_frame(self.first_frame, usable, f"{self.csv.name}, column {name},")
        return np.nan_to_num(numbers, nan=-1, posinf=-1, neginf=-1).astype(np.int64)

    def _medium(self, paths: set[str], *, are_videos: bool) -> Medium:
        if are_videos:
            return Videos.below(self._folder, paths, self.first_frame or 0)
        return Files.below(self._folder, paths)

    def _find(self, paths: list[str], reasons: Reasons) -> None:
        """Give a reason to rows whose image is not there.

        Raises:
            SourceError: none is.
        """
        root = self._folder
        absent = {path for path in {*paths} if path and not os.path.isfile(root / path)}  # noqa: PTH113  # no error for odd names
        if not absent:
            return
        example = min(absent)
        hint = place_of(root, example) or suffix_of(root, example)
        if absent == {*filter(None, paths)}:
            raise SourceError(
                f"images must be below {root} (--root); {example} is not there"
                + (f". {hint}" if hint else "")
            )
        for at, path in enumerate(paths):
            if path in absent:
                same = suffix_of(root, path) if path == example else ""
                reasons[at] = f"{path} is not in {root}" + (f". {same}" if same else "")

    def _boxes(self, csv: Table, reasons: Reasons) -> Floats:
        """The box of each row [N, 4], in pixels or shares; NaN where the whole image is meant."""
        box = np.full((len(csv), 4), np.nan)
        if self.columns.box is None:
            return box
        rule = _SHARE if self.boxes == "normalised" else _PIXEL
        corners = self.columns.has_corners
        side = rule if corners else Number(above=0, farthest=rule.farthest)
        for at, name in enumerate(self.columns.box):
            box[:, at] = numbers_of(csv, name, rule if at < 2 else side, reasons)
        if corners:
            x, y, x2, y2 = self.columns.box
            box[:, 2:] -= box[:, :2]
            for at, one, other in ((2, x2, x), (3, y2, y)):
                for row in np.flatnonzero((box[:, at] <= 0) & (reasons == "")).tolist():
                    reasons[row] = f"its {one} is not above its {other}"
        return box

    def _table(self, csv: Table, names: list[str], box: Floats, reasons: Reasons) -> RowTable:
        """All rows, by the keys of their frames."""
        codes, keys = pd.factorize(np.array(names, object))
        one = self.columns.one
        kind = kinds_of(csv, one["kind"], reasons) if "kind" in one else None
        label = np.full(len(csv), NO_LABEL, np.int64)
        own = {one[role] for role in ("image", "kind") if role in one}
        own |= {*(self.columns.box or ())}
        if "label" in one:
            who = [cell.strip() for cell in csv.texts(one["label"])]
            people = Identities.of(who)
            label[:] = [people.label(name) for name in who]
            if people.are_numbers:
                own.add(one["label"])
        if kind is not None:
            label[kind != Kind.PERSON] = NO_LABEL
        with_role = {*self.columns.names} - own
        columns: dict[str, Column] = {
            stored_name(name) if name in with_role else str(name): further_column(csv.cells[name])
            for name in csv.cells
            if name not in own
        }
        shared = [*map(stored_name, (*self.columns.group, *self.columns.times))]
        shared += [stored_name(one["camera"])] if "camera" in one else []
        return RowTable(
            keys=keys.tolist(),
            frame=codes.astype(np.int64),
            label=label,
            box=box,
            document=Coded(
                codes=np.zeros(len(csv), np.int32), categories=(f"{self.csv.name} line",)
            ),
            entry=csv.lines,
            kind=kind,
            shared={name: columns[name] for name in shared},
            fields={name: column for name, column in columns.items() if name not in shared},
            relative=self.boxes == "normalised",
        )

    def _check(self, table: RowTable, usable: Bools) -> None:
        """What an image cannot be, and whom a split cannot hold."""
        for name, column in table.shared.items():
            for first, row in table.differing(column, usable):
                cells = cells_of(column)
                raise SourceError(
                    f"an image must have one {name}; {table.keys[int(table.frame[row])]} has"
                    f" {cells[first]} on line {table.entry[first]} and {cells[row]} on line"
                    f" {table.entry[row]} of {self.csv}"
                )
        if "split" in self.columns.one:
            splits = cells_of(table.fields[stored_name(self.columns.one["split"])])
            rows = np.flatnonzero(usable).tolist()
            pairs = ((int(table.label[row]), str(splits[row])) for row in rows)
            called = table.fields.get(stored_name(self.columns.one.get("label", "")))
            names = (
                {}
                if called is None
                else dict(zip(table.label.tolist(), cells_of(called), strict=True))
            )
            refuse_shared_identities(pairs, allowed=self.shared_identities, names=names)
