"""One sequence of MOT Challenge: its images, its tracks, and what its ini files say."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.media import image_names
from builders.sources._gt import FRAME, TrackFile, read_tracks
from builders.sources._tree import folders_in, is_image
from lmdb_reid.errors import SourceError

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
_TRACKLET = re.compile(r"trackletid_(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A folder of frames, and its gt.txt."""

    path: str
    """From the folder that holds all, with slashes: `train/MOT17-02-FRCNN`, or the name alone."""
    folder: Path
    split: str
    """train, val or test, where the folder above is called so; "" elsewhere."""
    image_dir: str
    """Of images; "" where they are frames of a video."""
    images: Mapping[int, str]
    """File names by number; none of a video."""
    tracks: TrackFile
    length: int | None
    """Frames, as seqinfo.ini says."""
    game: Mapping[int, tuple[str, str]]
    """(role, shirt) of tracks, as gameinfo.ini says."""

    def image(self, number: int) -> tuple[str, str | None]:
        """The key of an image, and its path from the folder that holds all; None where it is not
        there.
        """
        folder, file = f"{self.path}/{self.image_dir}", self.images.get(number)
        if file is None:
            return f"{folder}/{number:06d}", None
        return f"{folder}/{file.rpartition('.')[0]}", f"{folder}/{file}"


def sequences_below(root: Path, *, with_images: bool = True) -> list[tuple[str, Path]]:
    """(path of the folder above, folder) of each sequence that has a gt/gt.txt, and images where
    these are asked for: the folder itself, those in it, or those in folders of it.

    Raises:
        SourceError: a folder cannot be listed.
    """

    def is_sequence(folder: Path) -> bool:
        if not (folder / "gt" / "gt.txt").is_file():
            return False
        return not with_images or (folder / _image_dir(_ini(folder / "seqinfo.ini"))).is_dir()

    if is_sequence(root):
        return [("", root)]
    folders = folders_in(root)
    found = [("", root / name) for name in folders if is_sequence(root / name)]
    return found or [
        (above, root / above / name)
        for above in folders
        for name in folders_in(root / above)
        if is_sequence(root / above / name)
    ]


def _image_dir(info: Mapping[str, str]) -> str:
    return info.get("imdir", "img1").strip("/")


def read_sequence(above: str, folder: Path, *, with_images: bool = True) -> Sequence:
    """Read a sequence, and which images it has where these are asked for.

    Raises:
        SourceNotFoundError: it has no folder of images.
        SourceError: a file cannot be read, or gt.txt has frames beyond the sequence's end.
    """
    info = _ini(folder / "seqinfo.ini")
    image_dir = _image_dir(info) if with_images else ""
    images = {}
    for name in image_names(folder / image_dir, option="--root") if with_images else ():
        stem = name.rpartition(".")[0]
        if is_image(name) and stem.isascii() and stem.isdecimal():
            images[int(stem)] = name
    length = info.get("seqlength", "")
    name = folder.absolute().name
    one = Sequence(
        path=f"{above}/{name}" if above else name,
        folder=folder,
        split=_SPLITS.get(above.rpartition("/")[2] or folder.absolute().parent.name, ""),
        image_dir=image_dir,
        images=images,
        tracks=read_tracks(folder / "gt" / "gt.txt"),
        length=int(length) if length.isdecimal() else None,
        game=_game(_ini(folder / "gameinfo.ini")),
    )
    frames = one.tracks.cells[:, FRAME]
    if one.length is not None and len(frames) and frames.max() > one.length:
        raise SourceError(
            f"gt.txt must have frames up to {one.length}, the seqLength of {folder}/seqinfo.ini; it"
            f" has frame {frames.max():g}. Is it the gt.txt of another sequence?"
        )
    return one


def check_numbering(found: Iterable[Sequence], offset: int) -> None:
    """Refuse a gt.txt that counts frames from 0 where images count from 1, or the other way round.

    Raises:
        SourceError: one does.
    """
    for one in found:
        frames = one.tracks.cells[one.tracks.faults == "", FRAME].astype(np.int64) + offset
        if not one.images or not len(frames):
            continue
        first, last = min(one.images), max(one.images)
        low, high = int(frames.min()), int(frames.max())
        shift = 0
        if low < min(1, first):
            shift = 1
        elif (low, first, high) == (1, 0, last + 1):
            shift = -1
        if shift:
            raise SourceError(
                f"gt.txt and images must count alike; in {one.path} boxes are of frames"
                f" {low} to {high}, and images {first} to {last}. Use --frame-offset"
                f" {offset + shift} if each box is of the image before or after"
            )


def _ini(path: Path) -> Mapping[str, str]:
    """The cells of all sections of an ini file; nothing where there is none.

    Raises:
        SourceError: it cannot be read.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8-sig")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None
    return {name: cell for section in parser.sections() for name, cell in parser.items(section)}


def _game(cells: Mapping[str, str]) -> dict[int, tuple[str, str]]:
    """(role, shirt) of each track: `trackletID_20= ball;1`."""
    found = {}
    for name, cell in cells.items():
        match = _TRACKLET.fullmatch(name)
        if match is not None:
            role, _, shirt = cell.partition(";")
            found[int(match[1])] = (role.strip(), shirt.strip())
    return found
