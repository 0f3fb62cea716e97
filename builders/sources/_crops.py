"""Data sets whose pictures are crops already: one sample a file, what it shows by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from builders.media import Files
from builders.sources._frame import BoxRow, Frame, Rejected
from builders.sources._gather import frames_of
from builders.sources._protocol import Listing
from builders.sources._tree import some_of
from lmdb_reid.errors import SourceError
from lmdb_reid.schema import NO_LABEL, Kind, Roles

TRAIN, QUERY, GALLERY = "train", "query", "gallery"
"""Values of the column `split`."""


class Crop(NamedTuple):
    """One file."""

    path: str
    """Below the root, with slashes."""
    label: int
    fields: Mapping[str, Any]
    """Columns of its own."""
    kind: Kind = Kind.PERSON
    document: str = ""
    """As `BoxRow` has it."""
    entry: int = -1


def crops_listing(
    name: str,
    root: Path,
    found: Sequence[Crop | Rejected],
    *,
    roles: Roles | None = None,
    inputs: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Listing:
    """A listing of files, in the order in which they are given.

    Args:
        name: the source's.
        root: the folder of the files.
        found: every row of the source, usable or not.
        roles: where they depend on what was read.
        inputs: digests of what was read.
        settings: what of the source's settings decides the content.

    Raises:
        DuplicateSampleError: two files differ in their suffixes alone.
        SourceError: there is nothing at all.
    """
    crops = [(at, each) for at, each in enumerate(found) if isinstance(each, Crop)]
    if not found:
        raise SourceError(f"{root} has no images (--root)")
    return Listing(
        frames=frames_of(_frame(at, crop) for at, crop in crops),
        medium=Files.below(root, (crop.path for _, crop in crops)),
        rows=len(found),
        skipped=[each for each in found if isinstance(each, Rejected)],
        inputs=inputs or {},
        settings={"format": name, **(settings or {})},
        places={"root": str(root.absolute())},
        roles=roles,
    )


def _frame(order: int, crop: Crop) -> Frame:
    row = BoxRow(
        number=0,
        label=crop.label,
        box=None,
        kind=crop.kind,
        document=crop.document,
        entry=crop.entry,
        order=order,
    )
    return Frame(key=key_of(crop.path), fields=crop.fields, rows=(row,))


def key_of(path: str) -> str:
    """The key of a file: its path below the root without suffix."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.rpartition(".")[0]


def refuse_shared_identities(
    pairs: Iterable[tuple[int, str]], *, allowed: bool, names: Mapping[int, str] | None = None
) -> None:
    """Refuse identities that are in train and in query or gallery too, for a ranking would be of
    people that the model has seen.

    Args:
        pairs: label and split of each row.
        allowed: whether the user says that this is meant.
        names: what the source calls labels, if not by their numbers.

    Raises:
        SourceError: there are some.
    """
    by_split: dict[str, set[int]] = {}
    for label, split in pairs:
        by_split.setdefault(split.strip().lower(), set()).add(label)
    trained = by_split.get(TRAIN, set()) - {NO_LABEL}
    for split in (QUERY, GALLERY):
        shared = sorted(trained & by_split.get(split, set()))
        if shared and not allowed:
            called = [(names or {}).get(label, label) for label in shared]
            raise SourceError(
                f"an identity must be in train or in query and gallery, not in both; {split}"
                f" has {some_of(called)} of train. Use --shared-identities if that is"
                " intended"
            )
