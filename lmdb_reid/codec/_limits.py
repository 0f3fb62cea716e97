"""What a picture may ask for: pixels, scans and both together, known before memory is taken."""

from __future__ import annotations

from typing import NamedTuple

from lmdb_reid.codec._orientation import XMP_MARK, orientation_of
from lmdb_reid.codec._pixels import Buffer
from lmdb_reid.errors import ImageError, ImageTooLargeError

MAX_PIXELS = 89_478_485
"""Most pixels of an image (Pillow's own limit, a quarter of a gigabyte of RGB)."""
MAX_SCANS = 100
"""Most scans of a JPEG: ten is usual, two thousand a denial of service."""
MAX_WORK = 1_000_000_000
"""Most pixels times scans of a JPEG of several scans: ten scans of the largest image."""
MAX_SEGMENTS = 10_000
"""Most markers before a JPEG's pixels: an honest file has some ten, a colour profile makes 255."""
SCAN = b"\xff\xda"
"""A start-of-scan marker. Entropy-coded data cannot hold these two bytes; a table between scans
can, so a count over the limit may be too high by a few: nobody writes a hundred scans.
"""

_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


def check_pixels(height: int, width: int) -> None:
    """Refuse what has too many pixels, or none.

    Raises:
        ImageTooLargeError: over MAX_PIXELS.
        ImageError: a side is below 1.
    """
    if height * width > MAX_PIXELS:
        raise ImageTooLargeError(f"{width}x{height} pixels: more than {MAX_PIXELS:,} are refused")
    if height < 1 or width < 1:
        raise ImageError(f"an image must have at least one pixel, got {width}x{height}")


def check_scans(count: int, height: int, width: int) -> None:
    """Refuse a JPEG of too many scans: the decoder goes over all pixels in each.

    Raises:
        ImageTooLargeError: over MAX_SCANS, or over MAX_WORK pixels times scans.
    """
    if count > MAX_SCANS:
        raise ImageTooLargeError(f"a JPEG of {count} scans: more than {MAX_SCANS} are refused")
    if count * height * width > MAX_WORK:
        raise ImageTooLargeError(
            f"a JPEG of {count} scans of {width}x{height} pixels: more than {MAX_WORK:,} pixels"
            " times scans are refused"
        )


_known, _last = b"", b""
"""A head, up to the entropy-coded data, of one scan and within the limits; and the head of the last
JPEG that had another. An encoder writes one head for all pictures of one size and quality, and
nothing behind it counts: it is found in 0.5 us, where counting scans takes 10.
"""


def is_known(data: Buffer) -> bool:
    """Whether a JPEG begins like one that was found to be within the limits."""
    head = _known
    return bool(head) and bytes(data[: len(head)]) == head


def check_jpeg(data: Buffer, height: int, width: int) -> None:
    """`check_pixels` and `check_scans` of a JPEG whose header says this size.

    Raises:
        ImageTooLargeError, ImageError: as these.
    """
    check_pixels(height, width)
    whole = bytes(data)
    count = whole.count(SCAN)  # most often 1: then its markers need not be walked
    if count == 1:
        _remember(whole)
    elif count > MAX_SCANS or count * height * width > MAX_WORK:
        scan = first_scan(whole)
        if scan.several:
            check_scans(whole.count(SCAN, scan.at), height, width)


def _remember(whole: bytes) -> None:
    """Note the head of a JPEG with one start of scan, if the last one had the same."""
    global _known, _last  # noqa: PLW0603  # each replaced as a whole
    at = whole.find(SCAN)
    head = whole[: at + 2 + int.from_bytes(whole[at + 2 : at + 4])]
    if head == _last and not first_scan(whole).several:
        _known = head
    _last = head


class FirstScan(NamedTuple):
    """What a JPEG's markers say up to its first start of scan."""

    at: int
    """Where that marker is."""
    several: bool
    """Whether the decoder would read further scans: of progressive files, and after a first scan
    that does not hold all components.
    """
    orientation: int
    """By EXIF or XMP, 1..8."""


def first_scan(data: bytes) -> FirstScan:
    """Walk the markers of a JPEG up to its pixels.

    Raises:
        ImageError: there are none, or the walk loses its place.
    """
    exif, xmp = b"", b""
    components, progressive, at = 0, False, 2
    for _ in range(MAX_SEGMENTS):
        if at + 4 > len(data):
            break
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2:  # the decoder would read on where this walk loses its place
            raise ImageError(f"a JPEG's segment must have a length of at least 2, got {length}")
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDA:
            several = progressive or not body or body[0] < components
            return FirstScan(at, several, orientation_of(exif, xmp))
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif = exif or body  # a second segment continues the first
        elif marker == 0xE1 and body.startswith(XMP_MARK):
            xmp = body
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = body[5] if len(body) > 5 else 0
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
        at += 2 + length
    else:
        raise ImageTooLargeError(
            f"a JPEG of over {MAX_SEGMENTS:,} markers before its pixels is refused"
        )
    raise ImageError("a JPEG without image data")
