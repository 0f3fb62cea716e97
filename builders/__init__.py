"""The build command: frames and boxes in, one sealed store out.

Importing this package loads nothing else; each name does when it is first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from builders.pipeline import build
    from builders.report import Report
    from builders.settings import BuildSettings
    from builders.sources import AtmaCup, BoxRow, Frame, LeftOut, Listing, Source
    from lmdb_reid.progress import Progress

__all__ = [
    "AtmaCup",
    "BoxRow",
    "BuildSettings",
    "Frame",
    "LeftOut",
    "Listing",
    "Progress",
    "Report",
    "Source",
    "build",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AtmaCup": "builders.sources",
        "BoxRow": "builders.sources",
        "BuildSettings": "builders.settings",
        "Frame": "builders.sources",
        "LeftOut": "builders.sources",
        "Listing": "builders.sources",
        "Progress": "lmdb_reid.progress",
        "Report": "builders.report",
        "Source": "builders.sources",
        "build": "builders.pipeline",
    },
)
