"""Market-1501 and DukeMTMC-reID: crops in three folders, named after person and camera."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from builders.sources._crops import (
    GALLERY,
    QUERY,
    TRAIN,
    Crop,
    crops_listing,
    refuse_shared_identities,
)
from builders.sources._frame import Rejected
from builders.sources._options import add_root, add_shared_identities, needed_root
from builders.sources._protocol import Listing, Options
from builders.sources._tree import (
    images_below,
    is_image,
    not_this_layout,
    some_of,
)
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import SourceError
from lmdb_reid.schema import NO_LABEL, Kind, Roles

FOLDERS: Mapping[str, str] = {
    "bounding_box_train": TRAIN,
    "query": QUERY,
    "bounding_box_test": GALLERY,
}
_NAME = re.compile(
    r"(?P<pid>-1|\d+)_c(?P<camera>\d+)(?:s(?P<sequence>\d+))?_f?(?P<frame>\d+)(?:_\d+)?"
)
_FORM = "PID_cCAMERAsSEQUENCE_FRAME_NUMBER"
_JUNK, _DISTRACTOR = -1, 0


class Market1501:
    """Folders `bounding_box_train`, `query`, `bounding_box_test` of images named
    `{pid:04d}_c{cam}s{seq}_{frame:06d}_{nn}.jpg` (DukeMTMC: `{pid:04d}_c{cam}_f{frame:07d}.jpg`).
    pid -1 is junk, 0 in bounding_box_test a distractor; both have the label -1.

    Args:
        root: the folder that holds the three; one is enough.
        pid_zero: what pid 0 is: nobody of the queries, or a person like others, where a data set
            counts its people from 0.
        shared_identities: accept identities that are in train and in query or gallery too.
    """

    name = "market1501"
    roles = Roles(camera="camera", time=("sequence", "frame"), split="split")

    @known_arguments()
    def __init__(
        self,
        root: Path,
        *,
        pid_zero: Literal["distractor", "person"] = "distractor",
        shared_identities: bool = False,
    ) -> None:
        self.root = Path(root)
        self.pid_zero = pid_zero
        self.shared_identities = shared_identities

    @classmethod
    def configure(cls, options: Options) -> None:
        """The folder, and what pid 0 means."""
        add = options.add_argument
        add_root(options, f"read this folder of {', '.join(FOLDERS)}")
        add(
            "--pid-zero",
            choices=("distractor", "person"),
            default="distractor",
            help="treat pid 0 as a distractor, or as a person (if people are counted from 0)",
        )
        add_shared_identities(options)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: no folder.
        """
        return cls(
            needed_root(cls.name, args.root),
            pid_zero=args.pid_zero,
            shared_identities=args.shared_identities,
        )

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether one of the three folders has an image that is named so."""
        for folder in FOLDERS:
            try:
                names = (entry.name for entry in (root / folder).iterdir())
                name = next(filter(is_image, names), "")
            except OSError:
                continue
            if _NAME.fullmatch(Path(name).stem):
                return f"{folder} has images named {_FORM}, such as {name}"
        return ""

    def read(self) -> Listing:
        """List the crops; see `Source`.

        Raises:
            SourceNotFoundError: no such folder.
            SourceError: it has none of the three, people are in train and query, or pid 0 is in
                either.
            DuplicateSampleError: two files differ in their suffixes alone.
        """
        folders = [name for name in FOLDERS if (self.root / name).is_dir()]
        if not folders:
            raise not_this_layout(self.root, " or ".join(FOLDERS), self.recognises)
        paths = [path for folder in folders for path in images_below(self.root, folder)]
        found = [self._crop(path) for path in paths]
        crops = [each for each in found if isinstance(each, Crop)]
        refuse_shared_identities(
            ((crop.label, crop.fields["split"]) for crop in crops), allowed=self.shared_identities
        )
        self._check_zero(crops)
        return crops_listing(self.name, self.root, found, settings={"pid_zero": self.pid_zero})

    def _crop(self, path: str) -> Crop | Rejected:
        folder, _, name = path.partition("/")
        match = _NAME.fullmatch(Path(name).stem)
        if match is None:
            return Rejected(path, str(Path(path).with_suffix("")), f"its name must be {_FORM}")
        pid = int(match["pid"])
        kind = Kind.PERSON
        if pid == _JUNK:
            kind = Kind.JUNK
        elif pid == _DISTRACTOR and self.pid_zero == "distractor":
            kind = Kind.DISTRACTOR
        fields = {
            "split": FOLDERS[folder],
            "camera": int(match["camera"]),
            "sequence": int(match["sequence"] or 0),
            "frame": int(match["frame"]),
            "pid": pid,
        }
        return Crop(path, pid if kind == Kind.PERSON else NO_LABEL, fields, kind)

    def _check_zero(self, crops: list[Crop]) -> None:
        wrong = [
            crop.path
            for crop in crops
            if crop.kind == Kind.DISTRACTOR and crop.fields["split"] != GALLERY
        ]
        if wrong:
            raise SourceError(
                "pid 0 must be in bounding_box_test alone, as a distractor, got it in"
                f" {some_of(wrong, 3)}. Use --pid-zero person if people are counted from 0"
            )
