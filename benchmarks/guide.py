"""What the performance guide promises, measured on a real data set: its ways beside ours.

    python -m benchmarks.guide --data DIR      DIR holds train_meta.csv and images/ (atmaCup layout)

Prints the rows of the table in docs/guide.md and keeps them as a dated file. All ways read the same
players in batches of 64 uint8 images of 256x128, with as many workers, from a warm page cache;
ways that are compared take turns. The guide itself makes floats, which would slow its ways further.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.guide_rows._cropping import cropping
from benchmarks.guide_rows._inputs import BATCH, Row, prepared
from benchmarks.guide_rows._lru import lru
from benchmarks.guide_rows._negatives import negatives
from benchmarks.guide_rows._turns import turn
from benchmarks.harness import keep
from lmdb_reid.machine import available_cores


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crops", type=int, default=400, help="cut at run time in each repeat")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        inputs = prepared(
            args.data, Path(folder), num_workers=args.num_workers, repeats=args.repeats
        )
        rows = [
            cropping(inputs, args.crops),
            *negatives(inputs, Path(folder)),
            turn(inputs),
            *lru(inputs),
        ]
    print(f"{len(inputs.listing.frames)} frames, {len(inputs.samples)} players,", end=" ")
    print(f"{args.num_workers} workers, {args.repeats} repeats; median (min to max)")
    print("| the guide's promise | its number | ours must be | measured | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.promise} | {row.claim} | {row.wanted} | {row.measured} | {row.ratio} |")
    settings = {"num_workers": args.num_workers, "repeats": args.repeats, "batch": BATCH}
    print(f"kept in {keep('guide', settings | {'rows': [asdict(row) for row in rows]})}")
    return rows


if __name__ == "__main__":
    main()
