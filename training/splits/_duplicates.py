"""What two parts of a split have in common: the same picture, or whatever else the keys mean."""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows
from training.splits._split import Split

Keys = npt.NDArray[np.integer[Any]]
"""One whole number for each sample, [N], the same where two samples are the same."""


class Shared(NamedTuple):
    """Rows of one part whose key stands in another part too."""

    part: str
    other: str
    """The part that comes first in the split."""
    rows: Rows
    """int64 [K], ascending, of `part`."""
    others: Rows
    """int64 [K]: for each of them the first row of `other` that has its key."""


def picture_keys(crc32: Keys, image_size: Keys) -> Keys:
    """Keys of stored pictures, uint64 [N]: equal where all bytes are equal, but for a chance of 1
    in 2^32 for each pair of pictures of one size.

    Args:
        crc32: [N], of the stored bytes.
        image_size: [N], how many bytes there are.
    """
    return (image_size.astype(np.uint64) << np.uint64(32)) | crc32.astype(np.uint64)


def shared_between_parts(split: Split, keys: Keys) -> list[Shared]:
    """What the parts of a split share, pair by pair; pairs that share nothing are left out.

    Args:
        split: rows of what `keys` has a value for.
        keys: of pictures (`picture_keys`), tracks, groups, or clusters of pictures that look
            alike. Where they are signed, a key below 0 is like no other.

    Raises:
        UsageError: a row of the split has no key.
    """
    rows = split.rows(*split.parts)
    if len(rows) and rows[-1] >= len(keys):
        raise UsageError(
            f"keys must have a value for each row of the split, to row {rows[-1]}; got {len(keys)}"
        )
    found = []
    for (other, first), (part, second) in combinations(split.parts.items(), 2):
        known, at = np.unique(keys[first], return_index=True)
        wanted = keys[second]
        if not len(known):
            continue
        place = np.searchsorted(known, wanted).clip(max=len(known) - 1)
        same = (known[place] == wanted) & (wanted >= 0)
        if same.any():
            found.append(Shared(part, other, second[same], first[at[place[same]]]))
    return found
