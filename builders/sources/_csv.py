"""Any csv of images, boxes and identities: the user says which column is which."""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from builders.columns import Coded, Column, cells_of
from builders.media import Files
from builders.sources._columns_option import ROLES, ColumnRoles, stored_name
from builders.sources._crops import SHARED_HELP, key_of, refuse_shared_identities
from builders.sources._frames import Frames
from builders.sources._identities import Identities
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
from builders.sources._tree import needed_root, place_of
from lmdb_reid.errors import SourceError, UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Roles

Unit = Literal["pixels", "normalised"]

_PIXEL = Number(farthest=1 << 31)
_SHARE = Number(farthest=10)
_KINDS = {kind.title: int(kind) for kind in Kind} | {str(int(kind)): int(kind) for kind in Kind}


class Csv:
    """A csv whose columns are named by the user, and images below a folder.

    Labels are the numbers in the label's column, where all of them are whole numbers; else each
    name gets one, in sorted order, and the name stays as a column. An empty cell and -1 are people
    whose identity is unknown. All further columns go into the store.

    Args:
        root: the folder that the csv's image paths begin at.
        csv: the csv; a relative path is also looked for below `root`.
        columns: which column says what; see `ColumnRoles`.
        boxes: "normalised": boxes are in shares of the image's width and height. Unless it is
            given boxes are in pixels, and a csv is refused whose boxes all lie in 0..1.
        shared_identities: accept identities that are in train and in query or gallery too.
    """

    name = "csv"
    roles = Roles()

    def __init__(
        self,
        root: Path,
        csv: Path,
        columns: ColumnRoles,
        *,
        boxes: Unit | None = None,
        shared_identities: bool = False,
    ) -> None:
        self.root = Path(root)
        self.csv = Path(csv)
        self.columns = columns
        self.boxes = boxes
        self.shared_identities = shared_identities

    @classmethod
    def configure(cls, options: Options) -> None:
        """The csv, the folder, and the columns' names."""
        add = options.add_argument
        add("--root", metavar="DIR", help="the folder that image paths begin at")
        add("--csv", metavar="CSV", help="the csv; looked for here, then below --root")
        add(
            "--columns",
            metavar="ROLE=NAME,...",
            help=f"which column says what: {', '.join(ROLES)}; group and time may stand again",
        )
        add(
            "--boxes",
            choices=("pixels", "normalised"),
            help="the unit of boxes; normalised: shares of the image's sides (default: pixels)",
        )
        add("--shared-identities", action="store_true", help=SHARED_HELP)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: an option is missing.
        """
        root = needed_root(cls.name, args.root)
        if not args.csv or not args.columns:
            raise UsageError(
                "--format csv needs --csv CSV and --columns, such as --columns"
                " image=file,x=left,y=top,w=width,h=height,label=player"
            )
        path = Path(args.csv)
        return cls(
            root,
            path if path.exists() or not (root / path).exists() else root / path,
            ColumnRoles.parse(args.columns),
            boxes=args.boxes,
            shared_identities=args.shared_identities,
        )

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Never: no folder says which columns are meant."""
        return ""

    def read(self) -> Listing:
        """List the images and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no such csv.
            SourceError: it cannot be read, lacks a column, all boxes lie in 0..1, no image is
                there, an image has two cameras, or people are in train and query.
            DuplicateSampleError: two images differ in their suffixes alone.
        """
        csv = read_table(self.csv, self.columns.names, option="--csv")
        reasons: Reasons = np.full(len(csv), "", object)
        paths = [_below(path) for path in csv.texts(self.columns.one["image"])]
        for at, path in enumerate(paths):
            reasons[at] = "" if path else "its image must be a path below --root"
        self._find(paths, reasons)
        box = self._boxes(csv, reasons)
        known = reasons == ""
        table = self._table(csv, paths, box, reasons)
        usable = reasons == ""
        self._check(table, usable)
        frames = table.frames(usable, known)
        named = {paths[row] for row in np.flatnonzero(usable).tolist()}
        return Listing(
            frames=frames,
            medium=Files.below(self.root, named),
            rows=len(csv),
            skipped=table.rejected(reasons),
            inputs={"csv": csv.digest},
            settings={
                "format": self.name,
                "columns": dict(self.columns.one),
                "group": list(self.columns.group),
                "time": list(self.columns.time),
                "boxes": self.boxes or "pixels",
            },
            places={"csv": str(self.csv.absolute()), "root": str(self.root.absolute())},
            roles=_roles(self.columns, frames),
        )

    def _find(self, paths: list[str], reasons: Reasons) -> None:
        """Give a reason to rows whose image is not there.

        Raises:
            SourceError: none is.
        """
        absent = {path for path in {*paths} if path and not (self.root / path).is_file()}
        if not absent:
            return
        example = min(absent)
        hint = place_of(self.root, example)
        if absent == {*filter(None, paths)}:
            raise SourceError(
                f"images must be below {self.root} (--root); {example} is not there"
                + (f". {hint}" if hint else "")
            )
        for at, path in enumerate(paths):
            if path in absent:
                reasons[at] = f"{path} is not in {self.root}"

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
        if self.boxes is None:
            self._refuse_shares(box[reasons == ""])
        if corners:
            x, y, x2, y2 = self.columns.box
            box[:, 2:] -= box[:, :2]
            for at, one, other in ((2, x2, x), (3, y2, y)):
                for row in np.flatnonzero((box[:, at] <= 0) & (reasons == "")).tolist():
                    reasons[row] = f"its {one} is not above its {other}"
        return box

    def _refuse_shares(self, box: Floats) -> None:
        if len(box) and box.min() >= 0 and box.max() <= 1:
            raise SourceError(
                f"boxes must be in pixels, but all {len(box):,} of {self.csv} lie in 0..1. Give"
                " --boxes normalised if they are shares of the image's sides, or --boxes pixels"
            )

    def _table(self, csv: Table, paths: list[str], box: Floats, reasons: Reasons) -> RowTable:
        codes, keys = pd.factorize(np.array([key_of(path) for path in paths], object))
        one = self.columns.one
        kind = _kinds(csv, one["kind"], reasons) if "kind" in one else None
        label = np.full(len(csv), NO_LABEL, np.int64)
        own = {one[role] for role in ("image", "kind") if role in one}
        own |= {*(self.columns.box or ())}
        if "label" in one:
            names = [cell.strip() for cell in csv.texts(one["label"])]
            people = Identities.of(names)
            label[:] = [people.label(name) for name in names]
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
        shared = [*map(stored_name, (*self.columns.group, *self.columns.time))]
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
            refuse_shared_identities(pairs, allowed=self.shared_identities)


def _roles(columns: ColumnRoles, frames: Frames) -> Roles:
    """What the columns say, of those that have a cell."""
    listed = {**frames.fields, **frames.rows.fields}
    there = {
        name for name, cells in listed.items() if any(cell is not None for cell in cells_of(cells))
    }
    one = {role: stored_name(name) for role, name in columns.one.items()}

    def role(name: str) -> str | None:
        return one[name] if one.get(name) in there else None

    return Roles(
        camera=role("camera"),
        group=tuple(name for name in map(stored_name, columns.group) if name in there),
        time=tuple(name for name in map(stored_name, columns.time) if name in there),
        split=role("split"),
        track=role("track"),
    )


def _below(path: str) -> str:
    """A path with slashes and without `.`; "" where it does not stay below its root."""
    parts = PurePosixPath(path.strip().replace("\\", "/"))
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        return ""
    return str(parts)


def _kinds(csv: Table, name: str, reasons: Reasons) -> npt.NDArray[np.uint8]:
    """The kind of each row [N]; an empty cell is a person."""
    kinds = np.zeros(len(csv), np.uint8)
    for row, cell in enumerate(csv.texts(name)):
        text = cell.strip().lower()
        kind = _KINDS.get(text) if text else int(Kind.PERSON)
        if kind is None:
            reasons[row] = reasons[row] or f"{name} must be of {', '.join(_KINDS)}, got {cell!r}"
        else:
            kinds[row] = kind
    return kinds
