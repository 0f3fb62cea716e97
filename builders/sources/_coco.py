"""COCO json: images, annotations with boxes, and an identity if they have one."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from builders.columns import Coded, Column, column_of
from builders.media import Files
from builders.sources._coco_json import (
    Image,
    attributes_of,
    categories_of,
    cell_of,
    fault_of,
    images_of,
    jsons_of,
    notes_of,
    read_document,
)
from builders.sources._crops import key_of
from builders.sources._identities import Identities
from builders.sources._options import add_root, needed_root
from builders.sources._protocol import Listing, Options
from builders.sources._rows import Bools, RowTable
from builders.sources._table import Floats, Reasons
from builders.sources._tree import place_of, some_of
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import SourceError, UsageError
from lmdb_reid.schema import NO_LABEL, Roles

_IDENTITY = "track_id"


class Coco:
    """`images` (id, file_name), `annotations` (image_id, bbox [x, y, w, h], category_id) and
    `categories`. Crowds are left out; segmentations, RLE or polygons, are not looked at.

    Args:
        root: the folder that file names begin at.
        annotations: the json; a relative path is also looked for below `root`.
        identity: the name of the identity, in an annotation or in its `attributes`; `track_id`
            where there is any, unless it is given. Within a video where images have a `video_id`.
        classes: names or numbers of categories (default: `person` where there is one).
    """

    name = "coco"
    roles = Roles()

    @known_arguments()
    def __init__(
        self,
        root: Path,
        annotations: Path,
        *,
        identity: str | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.root = Path(root)
        self.annotations = Path(annotations)
        self.identity = identity
        self.classes = classes

    @classmethod
    def configure(cls, options: Options) -> None:
        """The json, the folder, and what the identity is called."""
        add = options.add_argument
        add_root(options, "find the images of the json below this folder")
        add("--annotations", metavar="JSON", help="read this json; it may be below --root")
        add(
            "--identity",
            metavar="NAME",
            help="take the identity from this field (default: track_id, if any has it)",
        )
        add(
            "--classes",
            metavar="NAMES",
            default="",
            help="take these categories, by name or number (default: person, else all)",
        )

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: an option is missing.
        """
        root = needed_root(cls.name, args.root)
        found = [Path(args.annotations)] if args.annotations else jsons_of(root)
        if len(found) != 1:
            raise UsageError(
                "--format coco needs --annotations JSON; below --root are"
                f" {some_of(found) or 'none'}"
            )
        path = found[0]
        return cls(
            root,
            path if path.exists() or not (root / path).exists() else root / path,
            identity=args.identity,
            classes=tuple(filter(None, args.classes.split(","))),
        )

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether there is a json that begins as COCO's do."""
        for path in jsons_of(root):
            return f"{path.relative_to(root)} has images and annotations"
        return ""

    def read(self) -> Listing:
        """List the images and their boxes; see `Source`.

        Raises:
            SourceNotFoundError: no such json.
            SourceError: it is no COCO json, has no images, no annotation has the identity, no
                category is called so, or no image is there.
            DuplicateSampleError: two images have one id, or differ in their suffixes alone.
        """
        document, digest = read_document(self.annotations)
        images = images_of(document["images"])
        notes = notes_of(document["annotations"])
        names = categories_of(document.get("categories"))
        skipped: Reasons = np.full(len(notes), "", object)
        dropped: Reasons = np.full(len(notes), "", object)
        box = np.full((len(notes), 4), np.nan)
        for row, note in enumerate(notes):
            skipped[row] = fault_of(note, images)
            if not skipped[row]:
                box[row] = note["bbox"]
        absent = self._absent({images[note["image_id"]][0] for note in _good(notes, skipped)})
        wanted = self._wanted(names)
        for row, note in enumerate(notes):
            if skipped[row]:
                continue
            if note.get("iscrowd"):
                dropped[row] = "it marks a crowd (iscrowd)"
            elif wanted is not None and note.get("category_id") not in wanted:
                dropped[row] = "its category is not among those that are taken (--classes)"
            elif images[note["image_id"]][0] in absent:
                skipped[row] = f"{images[note['image_id']][0]} is not in {self.root}"
        return self._listing(
            notes, images, names, box=box, skipped=skipped, dropped=dropped, digest=digest
        )

    def _listing(
        self,
        notes: list[Mapping[str, Any]],
        images: Mapping[Any, Image],
        names: Mapping[Any, str],
        *,
        box: Floats,
        skipped: Reasons,
        dropped: Reasons,
        digest: str,
    ) -> Listing:
        taken = (skipped == "") & (dropped == "")
        has_videos = any(video is not None for _, video in images.values())
        people = self._people(notes, images, taken)
        identities = Identities.of(who for who in people if who is not None)
        paths = [images.get(note.get("image_id"), ("", None))[0] for note in notes]
        places: dict[str, int] = {}
        frame = [places.setdefault(key_of(path), len(places)) for path in paths]
        label = [NO_LABEL if who is None else identities.label(who) for who in people]
        fields: dict[str, Column] = {}
        if names:
            fields["category"] = column_of([names.get(note.get("category_id")) for note in notes])
        if any(who is not None for who in people):
            fields["identity"] = column_of(people)
        videos = [images.get(note.get("image_id"), ("", None))[1] for note in notes]
        table = RowTable(
            keys=[*places],
            frame=np.array(frame, np.int64),
            label=np.array(label, np.int64),
            box=box,
            document=Coded(
                codes=np.zeros(len(notes), np.int32),
                categories=(f"{self.annotations.name} annotation",),
            ),
            entry=np.arange(len(notes)),
            shared={"video": column_of(videos)} if has_videos else {},
            fields=fields,
        )
        frames = table.frames(taken, skipped == "")
        files = Files.below(self.root, {paths[row] for row in np.flatnonzero(taken).tolist()})
        return Listing(
            frames=frames,
            medium=files,
            rows=len(notes),
            skipped=table.rejected(skipped),
            dropped=table.rejected(dropped),
            inputs={"annotations": digest},
            settings={
                "format": self.name,
                "identity": self.identity,
                "classes": list(self.classes),
            },
            places={
                "annotations": str(self.annotations.absolute()),
                "root": str(self.root.absolute()),
            },
            roles=Roles(group=("video",) if has_videos else ()),
        )

    def _people(
        self, notes: list[Mapping[str, Any]], images: Mapping[Any, Image], taken: Bools
    ) -> list[str | None]:
        """The identity of each annotation; of one video where there are videos."""
        name = self.identity or _IDENTITY
        found = [cell_of(note, name) for note in notes]
        if self.identity and all(cell is None for cell in found):
            there = sorted({each for note in notes for each in (*note, *attributes_of(note))})
            near = difflib.get_close_matches(name, there, n=1)
            raise SourceError(
                f"annotations must have {name} (--identity); they have {', '.join(there)}"
                + (f". Did you mean {near[0]}?" if near else "")
            )
        people: list[str | None] = []
        for note, cell, is_taken in zip(notes, found, taken.tolist(), strict=True):
            video = images[note["image_id"]][1] if is_taken else None
            who = None if cell in (None, "", -1) or not is_taken else str(cell)
            people.append(who if who is None or video is None else f"{video}/{who}")
        return people

    def _absent(self, paths: set[str]) -> set[str]:
        """The images that are not there.

        Raises:
            SourceError: none is.
        """
        absent = {path for path in paths if not (self.root / path).is_file()}
        if absent and absent == paths:
            hint = place_of(self.root, min(absent))
            raise SourceError(
                f"images must be below {self.root} (--root); {min(absent)} is not there"
                + (f". {hint}" if hint else "")
            )
        return absent

    def _wanted(self, names: Mapping[Any, str]) -> set[Any] | None:
        """The categories that are taken, by number; None: all."""
        if not self.classes:
            return {number for number, name in names.items() if name == "person"} or None
        wanted = set()
        for each in self.classes:
            same = {number for number, name in names.items() if each in (name, str(number))}
            if not same:
                near = difflib.get_close_matches(each, names.values(), n=1)
                raise SourceError(
                    f"--classes must be of {some_of([*names.values()], 20)}; got {each!r}"
                    + (f". Did you mean {near[0]!r}?" if near else "")
                )
            wanted |= same
        return wanted


def _good(notes: list[Mapping[str, Any]], skipped: Reasons) -> Iterable[Mapping[str, Any]]:
    return (note for note, reason in zip(notes, skipped, strict=True) if not reason)
