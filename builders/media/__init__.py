"""Where the pixels of frames come from: files, videos, or whatever else follows `Medium`."""

from builders.media._files import Files, image_names
from builders.media._headers import frame_sizes
from builders.media._protocol import Medium, Picture, Stamp
from builders.media._video import MAX_FRAME, Videos, frame_key, is_video

__all__ = [
    "MAX_FRAME",
    "Files",
    "Medium",
    "Picture",
    "Stamp",
    "Videos",
    "frame_key",
    "frame_sizes",
    "image_names",
    "is_video",
]
