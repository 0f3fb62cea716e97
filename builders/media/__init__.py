"""Where the pixels of frames come from: files, or whatever else follows `Medium`."""

from builders.media._files import Files, image_names
from builders.media._headers import frame_sizes
from builders.media._protocol import Medium, Picture, Stamp

__all__ = ["Files", "Medium", "Picture", "Stamp", "frame_sizes", "image_names"]
