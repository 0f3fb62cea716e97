"""Which way up a picture is: what EXIF and XMP say of it, and turning it so."""

from __future__ import annotations

import re
import struct

import numpy as np

from lmdb_reid.schema import Pixels

XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
"""What an APP1 segment with XMP begins with."""

_TAG = 0x0112
# The whole numbers among the types of TIFF 6.0, 2: SHORT, LONG and their signed kin. Writers take
# others than the SHORT that EXIF asks for.
_WHOLE = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
_XMP_TAG = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """1..8 as in EXIF 2.3, tag 0x0112; 1 where nothing that makes sense is said.

    EXIF counts before XMP, as in Pillow and viewers.

    Args:
        exif: a TIFF file, perhaps behind "Exif" and two zeros.
        xmp: the packet, as XML.
    """
    said = exif_orientation(exif.removeprefix(b"Exif\0\0"))
    if said is None and (found := _XMP_TAG.search(xmp)):
        said = int(found[1])
    return said if said is not None and 1 <= said <= 8 else 1


def exif_orientation(tiff: bytes) -> int | None:
    """The orientation tag of a TIFF header's first directory; None where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
        if tag == _TAG:
            if count != 1 or kind not in _WHOLE:
                return 1
            value: int
            (value,) = struct.unpack_from(order + _WHOLE[kind], tiff, entry + 8)
            return value
    return None


def turned(image: Pixels, orientation: int) -> Pixels:
    """A picture [H, W, 3] as it should be seen, by what `orientation_of` said."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
