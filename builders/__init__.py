"""The build command: frames and boxes in, one sealed store out.

Importing this package loads nothing else; each name does when it is first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from builders.derived import Derived
    from builders.media import Files, Medium
    from builders.pipeline import build, plan
    from builders.report import Report
    from builders.settings import BuildSettings
    from builders.sources import (
        AtmaCup,
        BoxRow,
        Frame,
        Frames,
        Listing,
        Rejected,
        Source,
        frames_of,
    )
    from lmdb_reid.progress import Progress

__all__ = [
    "AtmaCup",
    "BoxRow",
    "BuildSettings",
    "Derived",
    "Files",
    "Frame",
    "Frames",
    "Listing",
    "Medium",
    "Progress",
    "Rejected",
    "Report",
    "Source",
    "build",
    "frames_of",
    "plan",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AtmaCup": "builders.sources",
        "BoxRow": "builders.sources",
        "BuildSettings": "builders.settings",
        "Derived": "builders.derived",
        "Files": "builders.media",
        "Frame": "builders.sources",
        "Frames": "builders.sources",
        "Listing": "builders.sources",
        "Medium": "builders.media",
        "Progress": "lmdb_reid.progress",
        "Rejected": "builders.sources",
        "Report": "builders.report",
        "Source": "builders.sources",
        "build": "builders.pipeline",
        "frames_of": "builders.sources",
        "plan": "builders.pipeline",
    },
)
