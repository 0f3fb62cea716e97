"""Which boxes of tracks are taken."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from builders.columns import Ints
from builders.sources._gt import CLASS, CONFIDENCE, FRAME, VISIBILITY, H
from builders.sources._protocol import Options
from builders.sources._table import Floats, Reasons
from lmdb_reid._arguments import known_fields
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFilter:
    """What of a track's boxes is wanted.

    Raises:
        UsageError: a value out of range.
    """

    classes: tuple[int, ...] = (1, -1)
    """Of people whose identity is known; -1 is that of files that name none."""
    unlabelled_classes: tuple[int, ...] = ()
    """Of people who get the label -1. They are taken also where their confidence is 0."""
    min_visibility: float = 0.0
    """The least share of a person that is seen, where the file says it."""
    min_height: float = 0.0
    """The least height of a box, in pixels."""
    max_per_identity: int | None = None
    """The most boxes of one identity, spread evenly over its track; None: all."""
    every: int = 1
    """Frames 1, 1 + every, 1 + 2 * every, ... of each sequence."""

    def __post_init__(self) -> None:
        both = {*self.classes} & {*self.unlabelled_classes}
        if both:
            raise UsageError(
                f"a class must be in --classes or in --unlabelled-classes, got {min(both)} in both"
            )
        if not 0 <= self.min_visibility <= 1:
            raise UsageError(f"--min-visibility must be 0 to 1, got {self.min_visibility}")
        if not self.min_height >= 0:
            raise UsageError(f"--min-height must be 0 or more, got {self.min_height}")
        if self.every < 1 or (self.max_per_identity is not None and self.max_per_identity < 1):
            raise UsageError("--every and --max-per-identity must be 1 or more")

    @staticmethod
    def configure(options: Options) -> None:
        """Add an option for each."""
        add = options.add_argument
        add(
            "--classes",
            metavar="N,N",
            default="1,-1",
            help="label boxes of these classes; -1: the file has no classes (default: %(default)s)",
        )
        add(
            "--unlabelled-classes",
            metavar="N,N",
            default="",
            help="take people of these classes too, with the label -1 (default: none)",
        )
        add(
            "--min-visibility",
            type=float,
            default=0.0,
            metavar="SHARE",
            help=(
                "leave out people of whom less than this share is visible, if the file says it"
                " (default: 0)"
            ),
        )
        add(
            "--min-height",
            type=float,
            default=0.0,
            metavar="PIXELS",
            help="leave out boxes that are less high than this (default: 0)",
        )
        add(
            "--max-per-identity",
            type=int,
            metavar="N",
            help="take at most N boxes of an identity, spread over its track (default: all)",
        )
        add("--every", type=int, default=1, metavar="N", help="take every Nth frame (default: 1)")

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: a value out of range.
        """
        return cls(
            classes=_numbers("--classes", args.classes),
            unlabelled_classes=_numbers("--unlabelled-classes", args.unlabelled_classes),
            min_visibility=args.min_visibility,
            min_height=args.min_height,
            max_per_identity=args.max_per_identity,
            every=args.every,
        )

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        fields = asdict(self)
        return fields | {name: list(fields[name]) for name in ("classes", "unlabelled_classes")}

    def reasons(self, cells: Floats) -> Reasons:
        """Why each row of gt.txt [N, 9] is left out [N]; "" where it is not."""
        reasons: Reasons = np.full(len(cells), "", object)
        labelled = np.isin(cells[:, CLASS], self.classes)
        unlabelled = np.isin(cells[:, CLASS], self.unlabelled_classes)
        for at in np.flatnonzero(~labelled & ~unlabelled).tolist():
            reasons[at] = f"its class {cells[at, CLASS]:g} is in neither of the lists (--classes)"
        visibility = cells[:, VISIBILITY]
        for left_out, reason in (
            (labelled & (cells[:, CONFIDENCE] == 0), "it is marked to be ignored (confidence 0)"),
            (
                (visibility >= 0) & (visibility < self.min_visibility),
                f"less than {self.min_visibility:g} of it is visible (--min-visibility)",
            ),
            (cells[:, H] < self.min_height, f"it is under {self.min_height:g} pixels high"),
            ((cells[:, FRAME] - 1) % self.every != 0, f"it is not of every {self.every}. frame"),
        ):
            reasons[left_out & (reasons == "")] = reason
        return reasons

    def thin(self, label: Ints, frame: Ints, reasons: Reasons) -> None:
        """Give a reason to rows that are too many of their identity.

        Args:
            label: [N]
            frame: [N], ascends with time within an identity.
            reasons: [N]; rows that have one are not counted.
        """
        if self.max_per_identity is None:
            return
        rows = np.flatnonzero((reasons == "") & (label != NO_LABEL))
        rows = rows[np.lexsort([frame[rows], label[rows]])]
        _, first, at, many = np.unique(
            label[rows], return_index=True, return_inverse=True, return_counts=True
        )
        rank, total = np.arange(len(rows)) - first[at], many[at]
        most = self.max_per_identity
        # Of `total` rows those where rank * most / total passes a whole number: `most` of them.
        kept = (total <= most) | ((rank * most) // total != ((rank - 1) * most) // total)
        reasons[rows[~kept]] = f"there are {most} others of its identity (--max-per-identity)"


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(",") if each.strip())
    except ValueError:
        raise UsageError(f"{option} must be numbers separated by commas, got {text!r}") from None
