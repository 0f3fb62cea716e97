"""What is compared: engines, their variants, what their pixels should be, and what they need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.peers._install import Environment
from lmdb_reid.errors import UsageError

Group = Literal["ceiling", "ours", "peer"]
Decoding = Literal["accurate", "dct", "fast"]
"""Accurate; the fast inverse DCT; that and the fast chroma upsampling (our `fast_dct=True`)."""
Output = Literal["pixels", "bot", "guide"]
"""What comes out: the pixels as decoded (or normalised), or what a recipe made of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One engine in one variant; `benchmarks/peers/MODULE.py` runs it."""

    module: str
    variant: str
    title: str
    group: Group = "peer"
    decoding: Decoding = "accurate"
    warm: bool = False
    """Whether it serves pixels that were decoded before."""
    output: Output = "pixels"
    environment: Environment | None = None
    """None: the project's own."""

    @property
    def key(self) -> str:
        """Its name in results."""
        return f"{self.module}-{self.variant}"

    @property
    def ceiling(self) -> str:
        """The key of the ceiling that it is held against."""
        return f"ceiling-{self.decoding}"


_TURBO = "simplejpeg==1.9.0"
FFCV = Environment(
    name="ffcv",
    requires=("ffcv==1.0.2", "pillow"),
    debian=("libopencv-dev", "pkg-config", "libturbojpeg0-dev", "g++"),
    options=("--no-build-isolation",),
)
SPDL = Environment(name="spdl", requires=("spdl-core==0.8.0", _TURBO))
WEBDATASET = Environment(name="webdataset", requires=("webdataset==1.0.2", "pillow", _TURBO))
LITDATA = Environment(name="litdata", requires=("litdata==0.2.76", "pillow", _TURBO))
STREAMING = Environment(name="streaming", requires=("mosaicml-streaming==0.13.0", "pillow", _TURBO))
DALI = Environment(name="dali", requires=("nvidia-dali-cuda120==2.4.0",))
ENVIRONMENTS = (FFCV, SPDL, WEBDATASET, LITDATA, STREAMING, DALI)


def _ceiling(decoding: Decoding, title: str) -> Entry:
    return Entry(
        module="ceiling", variant=decoding, title=title, group="ceiling", decoding=decoding
    )


def _ours(
    variant: str, title: str, decoding: Decoding = "accurate", *, warm: bool = False
) -> Entry:
    return Entry(
        module="ours", variant=variant, title=title, group="ours", decoding=decoding, warm=warm
    )


# A round goes through this list, the next one back: what is compared closest stands side by side.
ENTRIES = (
    _ceiling("accurate", "decode ceiling, accurate DCT"),
    _ours("threads", "lmdb_reid, threads"),
    _ours("processes", "lmdb_reid, processes"),
    _ceiling("fast", "decode ceiling, fast DCT and upsampling"),
    _ours("threads-fast", "lmdb_reid, threads, fast_dct=True", "fast"),
    Entry(
        module="ffcv",
        variant="jpg",
        title="FFCV, JPEG bytes kept (fast DCT)",
        decoding="dct",
        environment=FFCV,
    ),
    _ours("threads-dct", "lmdb_reid, threads, FFCV's decoding", "dct"),
    _ceiling("dct", "decode ceiling, fast DCT"),
    _ours("dataloader", "lmdb_reid, dataloader"),
    Entry(module="plain_lmdb", variant="turbo", title="LMDB + DataLoader, one by one"),
    Entry(module="files", variant="pil", title="JPEG files + PIL + DataLoader"),
    Entry(module="spdl", variant="accurate", title="SPDL, lmdb_reid's decoder", environment=SPDL),
    Entry(
        module="spdl",
        variant="fast",
        title="SPDL, lmdb_reid's decoder, fast",
        decoding="fast",
        environment=SPDL,
    ),
    Entry(module="dali", variant="accurate", title="DALI on the CPU", environment=DALI),
    Entry(
        module="dali",
        variant="fast",
        title="DALI on the CPU, fast DCT",
        decoding="dct",
        environment=DALI,
    ),
    Entry(module="webdataset", variant="pil", title="WebDataset, PIL", environment=WEBDATASET),
    Entry(
        module="webdataset",
        variant="turbo",
        title="WebDataset, lmdb_reid's decoder",
        environment=WEBDATASET,
    ),
    Entry(module="litdata", variant="pil", title="LitData, PIL", environment=LITDATA),
    Entry(
        module="litdata", variant="turbo", title="LitData, lmdb_reid's decoder", environment=LITDATA
    ),
    Entry(
        module="streaming", variant="pil", title="MosaicML Streaming, PIL", environment=STREAMING
    ),
    Entry(
        module="streaming",
        variant="turbo",
        title="MosaicML Streaming, lmdb_reid's decoder",
        environment=STREAMING,
    ),
    _ours("lru", "lmdb_reid, LRUCache", warm=True),
    _ours("tier", "lmdb_reid, DecodedTier", warm=True),
    Entry(
        module="gather",
        variant="bare",
        title="bare torch.index_select, memory-mapped",
        group="ceiling",
        warm=True,
    ),
    Entry(module="ffcv", variant="raw", title="FFCV, raw pixels", warm=True, environment=FFCV),
)


def peers_of(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names of a field's peers."""
    return tuple(dict.fromkeys(entry.module for entry in entries if entry.group == "peer"))


PEERS = peers_of(ENTRIES)


def chosen(peers: Collection[str], entries: Sequence[Entry] = ENTRIES) -> list[Entry]:
    """The ceilings, ours, and the peers named, of a field.

    Raises:
        UsageError: no such peer.
    """
    known = peers_of(entries)
    unknown = sorted(set(peers) - set(known))
    if unknown:
        raise UsageError(f"no peer {', '.join(unknown)}: give all, none or of {', '.join(known)}")
    return [entry for entry in entries if entry.group != "peer" or entry.module in peers]
