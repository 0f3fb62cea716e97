"""The engines with the recipe on (flip, pad and crop, erasing): a second field."""

from __future__ import annotations

from benchmarks.peers._field import DALI, FFCV, Entry
from benchmarks.peers._install import Environment

TORCHVISION = Environment(
    name="torchvision",
    requires=("torchvision==0.28.0", "pillow", "lmdb", "simplejpeg==1.9.0"),
)
SPDL = Environment(
    name="spdl-torchvision",
    requires=("spdl-core==0.8.0", "torchvision==0.28.0", "simplejpeg==1.9.0"),
)


def _ours(variant: str, title: str, output: str = "bot", *, warm: bool = False) -> Entry:
    return Entry(
        module="ours",
        variant=variant,
        title=f"lmdb_reid, {title}",
        group="ours",
        output=output,  # type: ignore[arg-type]  # one of its names
        warm=warm,
    )


# What is compared closest stands side by side.
RECIPE_ENTRIES = (
    _ours("threads", "threads, bare", "pixels"),
    _ours("threads-bot", "threads"),
    Entry(
        module="ceiling",
        variant="accurate",
        title="decode ceiling, accurate DCT",
        group="ceiling",
    ),
    _ours("processes-bot", "processes"),
    Entry(
        module="ffcv",
        variant="jpg-bot",
        title="FFCV, its flip, translate and cutout",
        decoding="dct",
        output="bot",
        environment=FFCV,
    ),
    Entry(
        module="ffcv",
        variant="jpg-bot-float32",
        title="FFCV, the same and NormalizeImage, float32",
        decoding="dct",
        output="bot",
        environment=FFCV,
    ),
    Entry(
        module="ceiling",
        variant="dct",
        title="decode ceiling, fast DCT",
        group="ceiling",
        decoding="dct",
    ),
    _ours("threads-bot-float32", "threads, float32"),
    Entry(
        module="files",
        variant="bot",
        title="JPEG files + PIL + torchvision v1, float32",
        output="bot",
        environment=TORCHVISION,
    ),
    Entry(
        module="plain_lmdb",
        variant="bot",
        title="LMDB + DataLoader + torchvision v2, float32",
        output="bot",
        environment=TORCHVISION,
    ),
    Entry(
        module="spdl",
        variant="bot",
        title="SPDL + torchvision v2, float32",
        output="bot",
        environment=SPDL,
    ),
    Entry(
        module="dali",
        variant="bot",
        title="DALI on the CPU, its flip, slice and erase",
        output="bot",
        environment=DALI,
    ),
    _ours("threads-guide-float32", "preset guide, float32", "guide"),
    Entry(
        module="files",
        variant="guide",
        title="JPEG files + PIL + the guide's, float32",
        output="guide",
        environment=TORCHVISION,
    ),
    _ours("tier", "DecodedTier, bare", "pixels", warm=True),
    _ours("tier-bot", "DecodedTier", warm=True),
    _ours("tier-float32", "DecodedTier, bare, float32", "pixels", warm=True),
    Entry(
        module="gather",
        variant="float32",
        title="bare index_select and conversion to float32",
        group="ceiling",
        warm=True,
    ),
)
# (what, of which engine, over which one, at least)
RECIPE_COMPARISONS = (
    ("recipe, threads, of the decode ceiling", "ours-threads-bot", "ceiling-accurate", 0.8),
    ("recipe, processes, of the decode ceiling", "ours-processes-bot", "ceiling-accurate", 0.8),
    ("recipe, against FFCV's own three steps", "ours-threads-bot", "ffcv-jpg-bot", 3.0),
    ("recipe, against files + PIL, float32", "ours-threads-bot", "files-bot", 4.0),
    ("recipe, float32, against the same", "ours-threads-bot-float32", "files-bot", 2.2),
    ("guide, float32, against its folder", "ours-threads-guide-float32", "files-guide", 3.0),
    ("recipe over the tier, of the tier bare", "ours-tier-bot", "ours-tier", 0.6),
    ("float32, of the bare conversion", "ours-tier-float32", "gather-float32", 0.85),
)
