"""The build command: frames and boxes in, one sealed store out.

Importing this package loads nothing else; each name does when it is first asked for.
"""

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from builders.derived import Derived
    from builders.media import Files, Medium, Videos
    from builders.pipeline import build, plan
    from builders.report import Report
    from builders.settings import BuildSettings
    from builders.sources import (
        MOT,
        MSMT17,
        AtmaCup,
        BoxRow,
        Coco,
        ColumnRoles,
        Csv,
        Folder,
        Frame,
        Frames,
        Listing,
        Market1501,
        Rejected,
        SoccerNet,
        Source,
        TrackFilter,
        frames_of,
    )
    from lmdb_reid.progress import Progress

__all__ = [
    "MOT",
    "MSMT17",
    "AtmaCup",
    "BoxRow",
    "BuildSettings",
    "Coco",
    "ColumnRoles",
    "Csv",
    "Derived",
    "Files",
    "Folder",
    "Frame",
    "Frames",
    "Listing",
    "Market1501",
    "Medium",
    "Progress",
    "Rejected",
    "Report",
    "SoccerNet",
    "Source",
    "TrackFilter",
    "Videos",
    "build",
    "frames_of",
    "plan",
]

_ANSWERS = {
    "COCO": "Use builders.Coco.",
    "Market": "Use builders.Market1501.",
    "SoccerNetReID": "Use builders.SoccerNet.",
    "Store": "Use `from lmdb_reid import Store`.",
    "StoreWriter": "Use `from lmdb_reid import StoreWriter`.",
    "build_store": "Use builders.build(source, path).",
}
"""What to write instead of names that others have."""

if not TYPE_CHECKING:  # or type checkers would take every name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "AtmaCup": "builders.sources",
            "BoxRow": "builders.sources",
            "BuildSettings": "builders.settings",
            "Coco": "builders.sources",
            "ColumnRoles": "builders.sources",
            "Csv": "builders.sources",
            "Derived": "builders.derived",
            "Files": "builders.media",
            "Folder": "builders.sources",
            "Frame": "builders.sources",
            "Frames": "builders.sources",
            "Listing": "builders.sources",
            "MOT": "builders.sources",
            "MSMT17": "builders.sources",
            "Market1501": "builders.sources",
            "Medium": "builders.media",
            "Progress": "lmdb_reid.progress",
            "Rejected": "builders.sources",
            "Report": "builders.report",
            "SoccerNet": "builders.sources",
            "Source": "builders.sources",
            "TrackFilter": "builders.sources",
            "Videos": "builders.media",
            "build": "builders.pipeline",
            "frames_of": "builders.sources",
            "plan": "builders.pipeline",
        },
        _ANSWERS,
    )
