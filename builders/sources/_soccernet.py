"""SoccerNet-ReID: crops of broadcast football, whose people are known within one action."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Self

from builders.sources._crops import GALLERY, QUERY, TRAIN, Crop, crops_listing, key_of
from builders.sources._frame import Rejected
from builders.sources._options import add_root, needed_root
from builders.sources._protocol import Listing, Options
from builders.sources._tree import images_below, not_this_layout
from lmdb_reid._arguments import known_arguments
from lmdb_reid.schema import Roles

_SUBSETS = ("train", "valid", "test", "challenge")
_NAME = re.compile(
    r"(?P<bbox>\d+)-(?P<action>\d+)-(?P<person>\d+)-(?P<frame>\d+)-(?P<role>.*)-(?P<shirt>[^-]*)"
    r"-(?P<uai>[^-]*)-\d+x\d+"
)
_FORM = "BBOX-ACTION-PERSON-FRAME-CLASS-ID-UAI-HxW"


class SoccerNet:
    """`{bbox}-{action}-{person}-{frame}-{class}-{ID}-{UAI}-{H}x{W}.png` at any depth below `train`,
    `valid/query`, `valid/gallery`, and so on for `test` and `challenge`; or below `query` and
    `gallery` of one of them.

    A person has a number within its action: labels are given for each (subset, action, person).

    Args:
        root: the folder that holds the subsets, or one of them.
    """

    name = "soccernet"
    roles = Roles(group=("subset", "action"), time=("frame",), split="split")

    @known_arguments()
    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def configure(cls, options: Options) -> None:
        """The folder."""
        add_root(options, f"read this folder of {', '.join(_SUBSETS)}, or one of these")

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: no folder.
        """
        return cls(needed_root(cls.name, args.root))

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether the first file below one of the folders is named so."""
        for folder in (*_SUBSETS, QUERY, GALLERY):
            name = _first_file(root / folder)
            if _NAME.fullmatch(Path(name).stem):
                return f"{folder} has images named {_FORM}, such as {name}"
        return ""

    def read(self) -> Listing:
        """List the crops; see `Source`.

        Raises:
            SourceNotFoundError: no such folder.
            SourceError: it has none of the subsets.
            DuplicateSampleError: two files differ in their suffixes alone.
        """
        folders = [name for name in (*_SUBSETS, QUERY, GALLERY) if (self.root / name).is_dir()]
        if not folders:
            needs = f"{', '.join(_SUBSETS)}, or query and gallery"
            raise not_this_layout(self.root, needs, self.recognises)
        paths = [path for folder in folders for path in images_below(self.root, folder)]
        matches = [_NAME.fullmatch(Path(path).stem) for path in paths]
        people = sorted(
            {
                self._person(path, match)
                for path, match in zip(paths, matches, strict=True)
                if match is not None
            }
        )
        labels = {person: label for label, person in enumerate(people)}
        found = [
            self._crop(path, match, labels[self._person(path, match)])
            if match is not None
            else Rejected(path, key_of(path), f"its name must be {_FORM}")
            for path, match in zip(paths, matches, strict=True)
        ]
        return crops_listing(self.name, self.root, found)

    def _subset(self, path: str) -> str:
        first = path.partition("/")[0]
        return first if first in _SUBSETS else self.root.absolute().name

    def _person(self, path: str, match: re.Match[str]) -> tuple[str, int, int]:
        return self._subset(path), int(match["action"]), int(match["person"])

    def _crop(self, path: str, match: re.Match[str], label: int) -> Crop:
        split = next((part for part in path.split("/")[:2] if part in (QUERY, GALLERY)), TRAIN)
        fields: dict[str, Any] = {"subset": self._subset(path), "split": split}
        fields |= {name: int(match[name]) for name in ("bbox", "action", "person", "frame")}
        fields |= {name: match[name] for name in ("role", "shirt", "uai") if match[name]}
        return Crop(path, label, fields)


def _first_file(folder: Path) -> str:
    """The first image on the way down the first folders; "" where there is none."""
    for _ in range(8):
        try:
            names = sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
        except OSError:
            return ""
        if not names:
            return ""
        if not (folder / names[0]).is_dir():
            return names[0]
        folder = folder / names[0]
    return ""
