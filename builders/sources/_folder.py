"""A folder for each identity."""

from __future__ import annotations

import argparse
import re
import warnings
from collections import defaultdict
from fnmatch import fnmatch
from itertools import permutations
from pathlib import Path
from typing import Any, Self

from builders.sources._crops import (
    GALLERY,
    QUERY,
    TRAIN,
    Crop,
    crops_listing,
    key_of,
    refuse_shared_identities,
)
from builders.sources._exported import exported_listing, is_export
from builders.sources._frame import Rejected
from builders.sources._identities import Identities
from builders.sources._market import Market1501
from builders.sources._mot import MOT
from builders.sources._msmt17 import MSMT17
from builders.sources._options import add_root, add_shared_identities, needed_root
from builders.sources._protocol import Listing, Options
from builders.sources._soccernet import SoccerNet
from builders.sources._tree import images_below, is_image
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import SourceError, UsageError
from lmdb_reid.schema import Roles

_SPLITS = {"train": TRAIN, "val": "val", "valid": "val", "query": QUERY, "gallery": GALLERY}
_NO_IDENTITIES = {*_SPLITS, "test", "img1", "images", "bounding_box_train", "bounding_box_test"}


class Folder:
    r"""`[{split}/]{identity}/{any name}.jpg`: the folder of an image names its identity, and of
    those above it the nearest called train, val, valid, query or gallery its split. What
    `lmdb-reid export` wrote is read by its csv, whichever its layout.

    Args:
        root: the folder of all.
        names: a regular expression for names without suffix, whose named groups become columns:
            `(?P<camera>\d+)_(?P<frame>\d+)`. A group `person` names the identity within its
            folder's place. Names that it does not match are rejected.
        leave_out: patterns of folders, as paths below the root, that are not read.
        shared_identities: accept identities that are in train and in query or gallery too.
    """

    name = "folder"
    roles = Roles()

    @known_arguments()
    def __init__(
        self,
        root: Path,
        *,
        names: str | None = None,
        leave_out: tuple[str, ...] = (),
        shared_identities: bool = False,
    ) -> None:
        self.root = Path(root)
        self.names = names
        self.leave_out = leave_out
        self.shared_identities = shared_identities

    @classmethod
    def configure(cls, options: Options) -> None:
        """The folder, and what the names say."""
        add = options.add_argument
        add_root(options, "read this folder of [SPLIT/]IDENTITY/IMAGE")
        add(
            "--names",
            metavar="REGEX",
            help=r"make columns from file names: '(?P<camera>\d+)_(?P<frame>\d+)' (default: none)",
        )
        add(
            "--leave-out",
            metavar="FOLDERS",
            default="",
            help="leave out these folders below --root, separated by commas; * is any text",
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
            names=args.names,
            leave_out=tuple(filter(None, args.leave_out.split(","))),
            shared_identities=args.shared_identities,
        )

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether folders, or folders of these, hold images."""
        for pattern in ("*/*.*", "*/*/*.*", "*/*/*/*.*"):
            first = next((path for path in root.glob(pattern) if is_image(path.name)), None)
            if first is not None:
                identity = first.parent.name
                return (
                    ""
                    if identity in _NO_IDENTITIES or is_export(root)
                    else f"{first.relative_to(root).parent} would be one identity's folder"
                )
        return ""

    def read(self) -> Listing:
        """List the crops; see `Source`.

        Raises:
            UsageError: `names` is no regular expression.
            SourceNotFoundError: no such folder.
            SourceError: it has no images, folders repeat each other, or people are in train and
                query.
            DuplicateSampleError: two files differ in their suffixes alone.

        Warns of a root that another layout fits, unless `names` says what the names mean.
        """
        if is_export(self.root):
            return exported_listing(self.name, self.root)
        pattern = _pattern(self.names)
        if pattern is None:
            _say_other_layout(self.root)
        paths = [path for path in images_below(self.root) if not self._is_left_out(path)]
        _refuse_repeats(self.root, paths)
        parsed = [self._parsed(path, pattern) for path in paths]
        people = Identities.of(fields["person"] for _, fields in parsed if isinstance(fields, dict))
        found = [
            Crop(path, people.label(fields["person"]), fields)
            if isinstance(fields, dict)
            else Rejected(path, key_of(path), fields)
            for path, fields in parsed
        ]
        crops = [each for each in found if isinstance(each, Crop)]
        refuse_shared_identities(
            ((crop.label, crop.fields.get("split", "")) for crop in crops),
            allowed=self.shared_identities,
            names={crop.label: crop.fields["person"] for crop in crops},
        )
        columns = {name for crop in crops for name in crop.fields}
        return crops_listing(
            self.name,
            self.root,
            found,
            roles=_roles(columns),
            settings={"names": self.names, "leave_out": list(self.leave_out)},
        )

    def _is_left_out(self, path: str) -> bool:
        return any(fnmatch(path, f"{folder.rstrip('/')}/*") for folder in self.leave_out)

    def _parsed(
        self, path: str, pattern: re.Pattern[str] | None
    ) -> tuple[str, dict[str, Any] | str]:
        """The columns of a file, or why it cannot be used."""
        *above, name = path.split("/")
        if not above:
            return path, "it must be in the folder of its identity, and is in none"
        fields: dict[str, Any] = {"person": above[-1]}
        split = next((_SPLITS[part] for part in reversed(above[:-1]) if part in _SPLITS), None)
        if split is not None:
            fields["split"] = split
        if pattern is not None:
            match = pattern.fullmatch(name.rpartition(".")[0])
            if match is None:
                return path, f"its name must match {pattern.pattern}"
            fields |= {group: _cell(text) for group, text in match.groupdict().items() if text}
            fields["person"] = str(match.groupdict().get("person") or fields["person"])
        return path, fields


def _say_other_layout(root: Path) -> None:
    """Warn of a folder whose files are named after their identities by another layout."""
    for source in (Market1501, MSMT17, SoccerNet, MOT):
        if why := source.recognises(root):
            warnings.warn(
                f"--format folder takes each folder of {root} as one identity, but it looks like"
                f" the layout {source.name}: {why}. Use --format {source.name}",
                stacklevel=3,
            )


def _pattern(names: str | None) -> re.Pattern[str] | None:
    """The expression for names.

    Raises:
        UsageError: it is none, or has no named group.
    """
    if names is None:
        return None
    try:
        pattern = re.compile(names)
    except re.error as error:
        raise UsageError(f"--names must be a regular expression, got {names!r}: {error}") from None
    if not pattern.groupindex:
        raise UsageError(rf"--names must have named groups such as (?P<camera>\d+), got {names!r}")
    return pattern


def _cell(text: str) -> str | int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text


def _roles(columns: set[str]) -> Roles:
    """What the columns that are there say."""

    def there(name: str) -> str | None:
        return name if name in columns else None

    return Roles(
        camera=there("camera"),
        time=tuple(name for name in ("sequence", "frame") if name in columns),
        split=there("split"),
        track=there("track"),
    )


def _refuse_repeats(root: Path, paths: list[str]) -> None:
    """Refuse a folder that repeats one beside it, by identities, names and sizes of files: its
    crops would be in the store twice. Cameras may well give their files the same names.

    Raises:
        SourceError: there is one.
    """
    held: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in paths:
        if path.count("/") >= 2:
            *above, identity, name = path.split("/")
            held["/".join(above[:-1])][above[-1]].add(f"{identity}/{name}")
    for parent, places in held.items():
        for one, other in permutations(places, 2):
            if places[one] > places[other] and all(
                (root / parent / one / crop).stat().st_size
                == (root / parent / other / crop).stat().st_size
                for crop in places[other]
            ):
                place = f"{parent}/{one}" if parent else one
                raise SourceError(
                    f"folders must hold different crops; {root / place} has all"
                    f" {len(places[other]):,} of {root / parent / other}. Use --leave-out"
                    f" {place}"
                )
