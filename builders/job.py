"""What a build is to do, known before any picture is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.derived import Derived, derived_columns
from builders.negatives import Negatives, negatives_of
from builders.repeats import without_repeats
from builders.settings import BuildSettings
from builders.sources import Frames, Listing, Source
from lmdb_reid import codec
from lmdb_reid.errors import DuplicateSampleError, SourceError, UsageError
from lmdb_reid.schema import Roles, check_ids

MAX_BOXES = 10_000
"""Rows, and known boxes, of one frame."""
_CHUNK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A listing, and what to make of it."""

    format: str
    """The source's name."""
    roles: Roles
    listing: Listing
    settings: BuildSettings
    negatives: Negatives
    derived: tuple[Derived, ...] = ()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the content of the store, as JSON values: its manifest's `build`."""
        inputs = {**self.listing.inputs, **self.negatives.inputs}
        derived = {"derive": [each.name for each in self.derived]} if self.derived else {}
        return {
            **self.settings.as_json(),
            **self.listing.settings,
            **self.negatives.settings,
            **derived,
            "inputs": inputs,
        }

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the content comes from: what of the manifest's `source` is known now."""
        places = {**self.listing.places, **self.negatives.places}
        return {"format": self.format, "codec": codec.codec_name(), **places}

    def stamps(self) -> str:
        """A digest of the stamps of all frames.

        Raises:
            SourceReadError: a picture's stamp cannot be read now.
        """
        digest, medium = hashlib.sha256(), self.listing.medium
        for key in self.listing.frames.keys:
            line = repr((key, *medium.stamp(key)))
            digest.update(line.encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def job_of(
    source: Source,
    settings: BuildSettings | None = None,
    *,
    negatives: str | os.PathLike[str] | None = None,
    derive: Sequence[str] = (),
) -> Job:
    """Read a source, once, and check what it lists.

    Args:
        source: frames and their boxes.
        settings: what to cut (default: the defaults).
        negatives: a csv to take the negatives from; they are drawn as the settings say unless
            given.
        derive: names of numbers to compute from each crop; see `builders.derived`.

    Raises:
        SourceError: the source, or the csv, cannot be used.
        UsageError: an argument is of the wrong kind.
        DuplicateSampleError: two samples would have one id.
    """
    if not callable(getattr(source, "read", None)):
        raise UsageError(f"build reads a source, such as AtmaCup(csv, frames), not {source!r}")
    if settings is not None and not isinstance(settings, BuildSettings):
        raise UsageError(f"settings are BuildSettings(...), not {settings!r}")
    settings = settings or BuildSettings()
    derived = derived_columns(derive)
    listing = without_repeats(source.read())
    check_frames(listing.frames)
    return Job(
        format=source.name,
        roles=listing.roles or source.roles,
        listing=listing,
        settings=settings,
        negatives=negatives_of(listing, settings, negatives),
        derived=derived,
    )


def check_frames(frames: Frames) -> None:
    """What every listing must keep to.

    Raises:
        DuplicateSampleError: two frames have one key, or a frame has two whole-picture rows.
        InvalidSampleError: a key gives ids that no store can hold.
        SourceError: the frames are not in the order of their keys, one has over 10,000 boxes, or
            all boxes are within 0..1 and are not said to be shares of their frames.
    """
    if not frames.relative:
        _check_pixels(frames.rows.box)
    last = b""
    for first in range(0, len(frames), _CHUNK):
        keys = list(frames.keys[first : first + _CHUNK])
        check_ids([f"{key}#000" for key in keys])
        for encoded in map(str.encode, keys):
            if encoded <= last:
                _refuse_order(encoded.decode(), same=encoded == last)
            last = encoded
    whole = np.concatenate([[0], np.isnan(frames.rows.box[:, 0]).cumsum()])
    starts = frames.starts - frames.starts[0]
    twice = np.diff(whole[starts]) > 1
    if twice.any():
        key = frames.keys[int(np.argmax(twice))]
        raise DuplicateSampleError(
            f"the frame {key} has more than one row for the whole picture: their samples would have"
            " the same id"
        )
    for each in (frames.starts, frames.box_starts):
        if each is not None and (np.diff(each) > MAX_BOXES).any():
            at = int(np.argmax(np.diff(each)))
            raise SourceError(
                f"a frame must have at most {MAX_BOXES:,} boxes; {frames.keys[at]} has"
                f" {np.diff(each)[at]:,}. Are they those of another frame too?"
            )


def _check_pixels(box_N4: npt.NDArray[np.float64]) -> None:
    """Boxes of 0..1 come from labels that are shares of a frame; each would be cut as one pixel."""
    known = box_N4[~np.isnan(box_N4[:, 0])]
    if known.size and (np.abs(known) <= 1).all() and (known % 1).any():
        raise SourceError(
            f"boxes must be in pixels; all {len(known):,} are within 0..1, as shares of"
            " their frame. Multiply x and w by the frame's width, y and h by its height;"
            " or, for your own csv, use --boxes normalised"
        )


def _refuse_order(key: str, *, same: bool) -> None:
    if same:
        raise DuplicateSampleError(
            f"two frames are called {key}: their samples would have the same ids {key}#..."
        )
    raise SourceError(f"frames must be in the order of their keys' bytes; {key} comes too late")
