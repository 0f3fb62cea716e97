"""JPEG in and out, other formats in, and the one resizer: all pixels of the project come through
here.

Pixels are uint8 arrays [H, W, 3], RGB. The codec is libjpeg-turbo, through simplejpeg (whose wheel
carries it) or, with LMDB_REID_CODEC=pyturbojpeg in the environment, through PyTurboJPEG and the
system's libturbojpeg 3.
"""

from lmdb_reid.codec._jpeg import (
    Header,
    check_limits,
    codec_id,
    codec_name,
    decode,
    decode_each,
    decode_scaled,
    encode,
    header,
)
from lmdb_reid.codec._limits import MAX_PIXELS, MAX_SCANS, MAX_WORK
from lmdb_reid.codec._pixels import Subsampling
from lmdb_reid.codec._resize import resize
from lmdb_reid.codec._scratch import scratch
from lmdb_reid.codec._sources import (
    SourceInfo,
    probe,
    probe_file,
    read_source,
)

__all__ = [
    "MAX_PIXELS",
    "MAX_SCANS",
    "MAX_WORK",
    "Header",
    "SourceInfo",
    "Subsampling",
    "check_limits",
    "codec_id",
    "codec_name",
    "decode",
    "decode_each",
    "decode_scaled",
    "encode",
    "header",
    "probe",
    "probe_file",
    "read_source",
    "resize",
    "scratch",
]
