"""What a loader reads: pictures of one size, by position.

Crops      the protocol: size, len, read, names, column
Encoded    a second, optional one: the JPEG bytes
Keyed      a third, optional one: names under which a cache keeps the pixels
Scattered  a fourth, optional one: each picture into an array of its own
Viewed     a fifth, optional one: the pixels where they lie in memory already
StoreCrops, FileCrops    from a store; from files that hold one crop each
Cached     wraps Crops that are Keyed: what a cache has is not decoded again
"""

from lmdb_reid.crops._cached import Cached, Gathered, gathered
from lmdb_reid.crops._files import FileCrops, read_image
from lmdb_reid.crops._protocol import (
    Crops,
    Encoded,
    Keyed,
    KeyGroup,
    Scattered,
    Viewed,
    agrees_with_read,
    check_read,
)
from lmdb_reid.crops._store import StoreCrops

__all__ = [
    "Cached",
    "Crops",
    "Encoded",
    "FileCrops",
    "Gathered",
    "KeyGroup",
    "Keyed",
    "Scattered",
    "StoreCrops",
    "Viewed",
    "agrees_with_read",
    "check_read",
    "gathered",
    "read_image",
]
