"""`lmdb-reid warm`: a store into the page cache, or decoded once for all that will read it."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lmdb_reid.bench import pages
from lmdb_reid.cache import DecodedTier
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import UsageError
from lmdb_reid.machine import free_memory, size_in_words
from lmdb_reid.progress import shown
from lmdb_reid.schema import parse_size
from lmdb_reid.store import Store

_WHOLE = 0.99  # share of a store in memory that counts as all of it
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """A store that was read. Sizes in bytes."""

    store: str
    samples: int
    bytes: int
    seconds: float
    resident_share: float | None
    """Now in the page cache, 0 to 1; None where the system cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A store whose images lie decoded in a tier."""

    store: str
    tier: str
    size: tuple[int, int]
    bytes: int
    samples: int
    decoded_now: int
    """Of the samples; the others were there."""
    seconds: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("store", metavar="STORE", help="the store's directory")
    add(
        "--decoded",
        action="store_true",
        help="decode every image once, into a file that all workers, ranks and runs read",
    )
    add("--size", metavar="HxW", help="decode to this size (default: the store's own)")
    add("--dir", metavar="DIR", help="keep the decoded images in DIR (default: STORE.decoded)")
    add(
        "--num-workers",
        type=int,
        metavar="N",
        help="decode in N threads (default: one for each core)",
    )
    add("--json", action="store_true", help="print the result as JSON")
    parser.epilog = """example:
  lmdb-reid warm games.lmdb
  lmdb-reid warm games.lmdb --decoded --dir /dev/shm/games.decoded

--size, --dir and --num-workers need --decoded.
The exit code is 1 if the store does not stay in memory."""


def run(args: argparse.Namespace) -> int:
    """Warm it, and tell what that took."""
    if not args.decoded:
        for name in ("size", "dir", "num_workers"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs --decoded")
        return _tell_warmed(_warmed(Path(args.store)), as_json=args.json)
    decoded = _decoded(args)
    if args.json:
        print_json(asdict(decoded))
    else:
        print_lines(_decoded_lines(decoded))
    return 0


def _warmed(path: Path) -> Warmed:
    with Store(path) as store:  # refuses what is no store, or a damaged one
        samples = len(store)
    with shown("reading", "MB", scale=1e6) as progress:
        read = pages.read_in(path, progress=progress)
    share = pages.held(path).share
    return Warmed(
        store=str(path),
        samples=samples,
        bytes=read.bytes,
        seconds=read.seconds,
        resident_share=share,
    )


def _tell_warmed(warmed: Warmed, *, as_json: bool) -> int:
    share = warmed.resident_share
    short = share is not None and share < _WHOLE
    if as_json:
        print_json(asdict(warmed))
        return int(short)
    rate = size_in_words(warmed.bytes / max(warmed.seconds, 1e-9))
    where = "" if share is None else f", {share:.0%} of it in the page cache"
    print(
        f"{warmed.store}: {size_in_words(warmed.bytes)} read in {warmed.seconds:.1f} s"
        f" ({rate}/s){where}"
    )
    if short:
        free = free_memory()
        left = "" if free is None else f" ({size_in_words(free)} are free)"
        print(f"it does not stay in memory{left}. Build it smaller (--size), or add memory.")
    return int(short)


def _decoded(args: argparse.Namespace) -> Decoded:
    # Here, because only this needs torch.
    from lmdb_reid.dataset import ReIDDataset
    from lmdb_reid.loaders import make_loader

    size = parse_size(args.size) if args.size else None
    began = time.perf_counter()
    with Store(args.store) as store:
        tier = DecodedTier(store, args.dir)
        dataset = ReIDDataset(store, size=size, cache=tier)
        with (
            make_loader(dataset, _BATCH, engine="threads", num_workers=args.num_workers) as loader,
            shown("decoding", "images") as progress,
        ):
            done = 0
            for batch in loader:
                done += len(batch.labels)
                progress(done, len(dataset), 0)
        tier.sync()
        return Decoded(
            store=str(args.store),
            tier=str(tier.path),
            size=dataset.size,
            bytes=len(dataset) * 3 * dataset.size[0] * dataset.size[1],
            samples=len(dataset),
            decoded_now=tier.stats()["kept"],
            seconds=time.perf_counter() - began,
        )


def _decoded_lines(decoded: Decoded) -> list[str]:
    height, width = decoded.size
    rate = decoded.samples / max(decoded.seconds, 1e-9)
    return [
        f"{decoded.tier}: {decoded.samples:,} images of {height}x{width},"
        f" {size_in_words(decoded.bytes)}; {decoded.decoded_now:,} decoded now,"
        f" in {decoded.seconds:.1f} s ({rate:,.0f}/s)",
        f"read it with ReIDDataset(store, size={decoded.size},"
        f" cache=DecodedTier(store, {decoded.tier!r}))",
    ]
