"""MOT Challenge, SportsMOT, SoccerNet-Tracking: sequences of frames, and tracks in gt.txt."""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Self

import numpy as np

from builders.columns import Coded, Ints, TextMap
from builders.media import Files, Medium, Videos, frame_key
from builders.sources._gt import CLASS, FRAME, TRACK, H, X
from builders.sources._mot_columns import balls_of, row_columns, shared_columns
from builders.sources._options import add_first_frame, add_root, needed_root
from builders.sources._protocol import Listing, Options
from builders.sources._rows import Bools, RowTable
from builders.sources._sequence import Sequence, check_numbering, read_sequence, sequences_below
from builders.sources._table import Floats, Reasons
from builders.sources._track_filter import TrackFilter
from builders.sources._tree import not_this_layout, some_of
from builders.sources._video_rows import checked_first_frame, videos_at
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import SourceError
from lmdb_reid.schema import NO_LABEL, Roles

_NEEDS = "a sequence (img1 and gt/gt.txt), or folders of sequences"


class MOT:
    """`{sequence}/img1/{frame:06d}.jpg` and `{sequence}/gt/gt.txt` of
    `frame,id,x,y,w,h,conf,class,visibility`, which may end after `h`. A number is a person within
    its sequence: labels are given for each (sequence, id).

    seqinfo.ini is read for `imDir` and `seqLength`, gameinfo.ini (SoccerNet-Tracking) for what each
    track is: the ball is left out, others get `role` and `shirt`. Instead of img1 there may be
    videos that are called as their sequences.

    Args:
        root: one sequence, a folder of them, or a folder of such folders (train, val, test).
        sequences: a pattern for the names of sequences.
        wanted: which boxes are taken.
        frames_present: leave out boxes of frames that are not there, instead of skipping them.
        frame_offset: what is added to a frame's number in gt.txt to get its image's.
        img_root: one video, or the folder of `{sequence}.mp4`, instead of images.
        first_frame: of videos, the number of the first frame: 0 or 1.
    """

    name = "mot"
    roles = Roles(group=("sequence",), time=("frame",), track="track")

    @known_arguments()
    def __init__(
        self,
        root: Path,
        *,
        sequences: str = "*",
        wanted: TrackFilter | None = None,
        frames_present: bool = False,
        frame_offset: int = 0,
        img_root: Path | None = None,
        first_frame: int | None = None,
    ) -> None:
        self.root = Path(root)
        self.sequences = sequences
        self.wanted = wanted or TrackFilter()
        self.frames_present = frames_present
        self.frame_offset = frame_offset
        self.img_root = None if img_root is None else Path(img_root)
        self.first_frame = first_frame

    @classmethod
    def configure(cls, options: Options) -> None:
        """The folder, and which boxes are taken."""
        add = options.add_argument
        add_root(options, "read this sequence, or folder of sequences")
        add(
            "--sequences",
            metavar="PATTERN",
            default="*",
            help="take only sequences of this name; * is any text, as in '*-FRCNN' (default: all)",
        )
        TrackFilter.configure(options)
        add(
            "--frames-present",
            action="store_true",
            help="leave out boxes of frames whose images do not exist",
        )
        add(
            "--frame-offset",
            type=int,
            default=0,
            metavar="N",
            help="add N to a frame's number in gt.txt to get its image's number (default: 0)",
        )
        add(
            "--img-root",
            metavar="VIDEO",
            help="read a video, or a folder of videos named like the sequences, instead of images",
        )
        add_first_frame(options)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: no folder, or a value out of range.
        """
        return cls(
            needed_root(cls.name, args.root),
            sequences=args.sequences,
            wanted=TrackFilter.from_args(args),
            frames_present=args.frames_present,
            frame_offset=args.frame_offset,
            img_root=args.img_root,
            first_frame=args.first_frame,
        )

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether there is a gt/gt.txt in it, or in folders of it."""
        try:
            found = sequences_below(root)
        except SourceError:
            return ""
        return f"{found[0][1].name} has gt/gt.txt" if found else ""

    def read(self) -> Listing:
        """List the frames and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no such folder.
            SourceError: it has no sequence, none is called as asked for, gt.txt is another
                sequence's, or counts frames otherwise than the images or the video.
            UsageError: frames are in videos, and nothing says how they are counted.

        Warns of sequences that have a gt.txt and no images: they are left out.
        """
        with_images = self.img_root is None
        there = sequences_below(self.root, with_images=with_images)
        if not there:
            raise not_this_layout(self.root, _NEEDS, self.recognises)
        found = [
            read_sequence(split, folder, with_images=with_images)
            for split, folder in there
            if fnmatch(folder.name, self.sequences)
        ]
        if not found:
            raise SourceError(
                f"--sequences must name sequences of {self.root}, got {self.sequences!r}; they are"
                f" {some_of([folder.name for _, folder in there])}"
            )
        if with_images:
            self._say_without_images({folder for _, folder in there})
        _refuse_same(found)
        check_numbering(found, self.frame_offset)
        return self._listing(found)

    def _say_without_images(self, there: set[Path]) -> None:
        """Warn of sequences that are left out since they have a gt.txt and no images."""
        without = [
            folder.name
            for _, folder in sequences_below(self.root, with_images=False)
            if folder not in there and fnmatch(folder.name, self.sequences)
        ]
        if without:
            warnings.warn(
                f"sequences of {self.root} that have gt/gt.txt but no folder of images are left out"
                f" ({len(without):,}): {some_of(without)}",
                stacklevel=3,
            )

    def _listing(self, found: list[Sequence]) -> Listing:
        table, names = self._table(found)
        cells = np.concatenate([one.tracks.cells for one in found])
        skipped: Reasons = np.concatenate([one.tracks.faults for one in found])
        dropped = self.wanted.reasons(cells)
        dropped[balls_of(found) & (dropped == "")] = "its track is the ball (gameinfo.ini)"
        is_absent = np.array([key not in names for key in table.keys], np.bool_)[table.frame]
        absent = f"its frame's {'image' if self.img_root is None else 'video'} is not there"
        if self.frames_present:
            dropped[is_absent & (dropped == "")] = absent
        else:
            fault = f"{absent}; --frames-present leaves such boxes out"
            skipped[is_absent & (dropped == "") & (skipped == "")] = fault
        _skip_twice(cells, table, skipped)
        dropped[skipped != ""] = ""
        skip_or_drop: Reasons = np.where(skipped != "", skipped, dropped)
        thinned = skip_or_drop.copy()
        self.wanted.thin(table.label, cells[:, FRAME].astype(np.int64), thinned)
        dropped[thinned != skip_or_drop] = thinned[thinned != skip_or_drop]
        usable = np.concatenate([one.tracks.faults for one in found]) == ""
        frames = table.frames((skipped == "") & (dropped == ""), usable)
        return Listing(
            frames=frames,
            medium=self._medium(found, frames.keys, names),
            rows=len(table),
            skipped=table.rejected(skipped),
            dropped=table.rejected(dropped),
            inputs={f"{one.path}/gt.txt": one.tracks.digest for one in found},
            settings={
                "format": self.name,
                "sequences": self.sequences,
                **self.wanted.as_json(),
                "frames_present": self.frames_present,
                "frame_offset": self.frame_offset,
                **({} if self.first_frame is None else {"first_frame": self.first_frame}),
            },
            places={"root": str(self.root.absolute())},
            roles=Roles(
                group=("sequence",),
                time=("frame",),
                track="track" if (cells[:, TRACK] >= 0).any() else None,
                split="split" if any(one.split for one in found) else None,
            ),
        )

    def _medium(
        self, found: list[Sequence], keys: Iterable[str], names: Mapping[str, str]
    ) -> Medium:
        if self.img_root is None:
            return Files(self._base(found[0]), TextMap((key, names[key]) for key in keys))
        folder, _ = videos_at(self.img_root, option="--img-root")
        videos = {key.rpartition("/")[0]: names[key] for key in keys}
        return Videos(Files(folder, TextMap(videos.items())), self.first_frame or 0)

    def _base(self, one: Sequence) -> Path:
        """The folder that paths of frames begin at: keys have the sequence's name, also where it
        is the only one.
        """
        base = one.folder.absolute()
        for _ in Path(one.path).parts:
            base = base.parent
        return base

    def _videos(self, found: list[Sequence]) -> dict[str, str]:
        """The video of each sequence that has one, by its path."""
        if self.img_root is None:
            return {}
        numbers = np.concatenate(
            [one.tracks.cells[one.tracks.faults == "", FRAME] for one in found]
        )
        checked_first_frame(
            self.first_frame, numbers.astype(np.int64) + self.frame_offset, "a gt.txt"
        )
        _, videos = videos_at(self.img_root, option="--img-root")
        if self.img_root.is_file():
            if len(found) > 1:
                raise SourceError(
                    f"one video must be of one sequence, got {len(found)}. Use --img-root with a"
                    " folder of videos called as their sequences, or --sequences"
                )
            return {found[0].path: videos[0]}
        by_key = {video.rpartition(".")[0]: video for video in videos}
        of_each = {one.path: by_key.get(one.path, by_key.get(one.folder.name)) for one in found}
        return {path: video for path, video in of_each.items() if video is not None}

    def _table(self, found: list[Sequence]) -> tuple[RowTable, dict[str, str]]:
        """All rows, and the file of each frame that has one, by its key."""
        names: dict[str, str] = {}
        places: dict[str, int] = {}
        frame: list[int] = []
        videos = self._videos(found)
        for one in found:
            for number in one.tracks.cells[:, FRAME].astype(np.int64).tolist():
                image = number + self.frame_offset
                if self.img_root is None:
                    key, file = one.image(image)
                else:
                    key, file = frame_key(one.path, image), videos.get(one.path)
                if file is not None:
                    names[key] = file
                frame.append(places.setdefault(key, len(places)))
        which = np.repeat(np.arange(len(found)), [len(one.tracks.lines) for one in found])
        cells = np.concatenate([one.tracks.cells for one in found])
        table = RowTable(
            keys=[*places],
            frame=np.array(frame, np.int64),
            label=self._labels(which, cells, balls_of(found)),
            box=cells[:, X : H + 1],
            document=Coded(
                codes=which.astype(np.int32),
                categories=tuple(f"{one.path}/gt/gt.txt line" for one in found),
            ),
            entry=np.concatenate([one.tracks.lines for one in found]),
            shared=shared_columns(found, which, cells),
            fields=row_columns(found, which, cells),
        )
        return table, names

    def _labels(self, which: Ints, cells: Floats, balls: Bools) -> Ints:
        """Numbers of (sequence, track) of the labelled classes [N]; no other filter moves them."""
        labelled = np.isin(cells[:, CLASS], self.wanted.classes) & (cells[:, TRACK] >= 0) & ~balls
        pairs = np.stack([which, cells[:, TRACK].astype(np.int64)], axis=1)
        labels = np.full(len(cells), NO_LABEL, np.int64)
        labels[labelled] = np.unique(pairs[labelled], axis=0, return_inverse=True)[1].ravel()
        return labels


def _skip_twice(cells: Floats, table: RowTable, skipped: Reasons) -> None:
    """Give a reason to rows whose track is in their frame already."""
    rows = np.flatnonzero((skipped == "") & (cells[:, TRACK] >= 0))
    pairs = np.stack([table.frame[rows], cells[rows, TRACK].astype(np.int64)], axis=1)
    _, first, at = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    earlier = rows[first[at.ravel()]]
    for row, one in zip(rows.tolist(), earlier.tolist(), strict=True):
        if row != one:
            skipped[row] = (
                f"its track {cells[row, TRACK]:g} is in the frame already (line {table.entry[one]})"
            )


def _refuse_same(found: list[Sequence]) -> None:
    by_digest: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if len(one.tracks.lines):
            by_digest[one.tracks.digest].append(one.path)
    for same in by_digest.values():
        if len(same) > 1:
            name, dash, detector = same[0].rpartition("/")[2].rpartition("-")
            raise SourceError(
                f"each sequence must have its own gt.txt; those of {same[0]} and {same[1]}"
                " are the same. Choose one of them with --sequences, such as --sequences"
                f" '{'*' if name else ''}{dash}{detector}'"
            )
