"""Where frames and boxes come from. A layout is one module with one small class that follows
`Source`.
"""

from builders.sources._atmacup import AtmaCup
from builders.sources._coco import Coco
from builders.sources._columns_option import ColumnRoles
from builders.sources._csv import Csv
from builders.sources._folder import Folder
from builders.sources._frame import BoxRow, Frame, Rejected
from builders.sources._frames import BoxRows, Frames
from builders.sources._gather import frames_of
from builders.sources._market import Market1501
from builders.sources._mot import MOT
from builders.sources._msmt17 import MSMT17
from builders.sources._protocol import Listing, Options, Source
from builders.sources._soccernet import SoccerNet
from builders.sources._track_filter import TrackFilter
from builders.sources._tree import places_near

__all__ = [
    "MOT",
    "MSMT17",
    "AtmaCup",
    "BoxRow",
    "BoxRows",
    "Coco",
    "ColumnRoles",
    "Csv",
    "Folder",
    "Frame",
    "Frames",
    "Listing",
    "Market1501",
    "Options",
    "Rejected",
    "SoccerNet",
    "Source",
    "TrackFilter",
    "frames_of",
    "places_near",
]
