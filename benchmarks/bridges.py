"""An epoch's loading for other toolboxes: their own files against a store through the bridge.

    python -m benchmarks.bridges --install                  once: the toolboxes' environments
    python -m benchmarks.bridges --store people.lmdb        the comparison

The store's people are split by identity, and their JPEG bytes written out as files, so that both
ways read the same. Flip, crop and erasing are on: torchreid's and BoxMOT's own for files, the
recipe "bot" for the store. Each way runs in a process of the toolbox's environment, in turns, with
as many workers; the first epoch of a process is not counted. The images of queries, which no random
transform touches, are compared between the ways.

torchreid comes from its public repository. Git can be pointed at a copy of it:

    git config --global url.file:///COPY.insteadOf https://github.com/KaiyangZhou/deep-person-reid
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import interleaved, keep, spread, told
from benchmarks.peers._install import Environment, install, interpreter, missing
from benchmarks.toolboxes._job import WAYS, Job
from lmdb_reid import Store
from lmdb_reid.schema import Rows
from training.data import StoreSamples, deal
from training.splits import Split, by_identity, save_split

ENVS = Path("~/.cache/lmdb_reid-peers")
OURS = ("lmdb>=3.0", "msgpack", "simplejpeg==1.9.0")
TOOLBOXES = {
    "torchreid": Environment(
        name="torchreid",
        requires=(
            *OURS,
            "opencv-python-headless",
            "torchvision==0.28.0",
            "h5py",
            "pillow",
            "six",
            "scipy",
            "matplotlib",
            "tensorboard",
            "gdown",
        ),
        # Its setup.py imports the package, and so torchvision, which the processes have to help.
        checkout=(
            "https://github.com/KaiyangZhou/deep-person-reid",
            "f8cd150fdf77e8d9e1ed143b7f308c2c609ded50",
        ),
    ),
    "boxmot": Environment(
        name="boxmot",
        constraints=("torch==2.13.0",),  # it wants numpy 2.2 or newer
        requires=(*OURS, "torchvision==0.28.0", "boxmot==25.0.0"),
    ),
}
GOALS = {"store": 2.5, "store-uint8": 4.0}
"""Times as fast as files, at least."""
_ROOT = Path(__file__).resolve().parent.parent
_SAME = 1e-4


def main() -> int:
    """Install, or measure, print and keep.

    Returns:
        0; 1 where an environment cannot be had, or two ways give other images.
    """
    args = arguments()
    names = args.toolboxes.split(",")
    envs = args.envs.expanduser().absolute()
    if args.install:
        there = [install(TOOLBOXES[name], envs) for name in names]
        return 0 if all(there) else 1
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="lmdb_reid-bridges-", dir=args.work) as folder:
        job = lay_out(args, Path(folder))
        for name in names:
            why = missing(TOOLBOXES[name], envs)
            if why is not None:
                print(f"skip {name}: {why}", file=sys.stderr)
                continue
            result[name] = measured(name, job, interpreter(TOOLBOXES[name], envs), args.repeats)
    if result and not args.small:
        settings = {"batch_size": args.batch_size, "num_workers": args.num_workers}
        file = keep("bridges", settings | {"repeats": args.repeats, "toolboxes": result})
        print(f"kept in {file}", file=sys.stderr)
    return 0 if result and all(each["same_images"] for each in result.values()) else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bridges",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--store", type=Path, help="a store of people whose crops have one size")
    what.add_argument("--install", action="store_true", help="make the toolboxes' environments")
    add("--toolboxes", default=",".join(TOOLBOXES), help="(default: both)")
    add("--envs", type=Path, default=ENVS, metavar="DIR", help=f"environments (default: {ENVS})")
    add("--work", type=Path, metavar="DIR", help="for the files")
    add("--repeats", type=int, default=5)
    add("--epochs", type=int, default=3, help="counted in each process (default: 3)")
    add("--batch-size", type=int, default=64)
    add("--num-workers", type=int, default=2)
    add("--small", action="store_true", help="400 crops, to see that all run; keeps no result")
    return parser.parse_args()


def lay_out(args: argparse.Namespace, folder: Path) -> Job:
    """The split, and files of the same bytes."""
    with Store(args.store) as store:
        samples = StoreSamples(store)
        people = store.query("kind == 0 and label >= 0")
        split = deal(samples, functools.partial(by_identity, test_ratio=0.3), people)
        if args.small:
            parts = {name: rows[:: max(1, len(rows) // 130)] for name, rows in split.parts.items()}
            split = Split(parts=parts, labels=split.labels)
        labels, size = store.columns["label"], store.size
        if size is None:
            raise SystemExit("benchmarks.bridges: the store's crops must have one size")
        save_split(folder / "split.json", split, store.ids, labels)
        camera = store.roles.camera
        cameras = np.zeros(len(store), np.int64) if camera is None else store.columns[camera]
        for name in ("train", "query", "gallery"):
            write_files(store, split[name], labels, cameras, folder / "files" / name)
    return Job(
        way="files",
        store=str(args.store.absolute()),
        split=str(folder / "split.json"),
        files=str(folder / "files"),
        size=size,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        epochs=1 if args.small else args.epochs,
    )


def write_files(store: Store, rows: Rows, labels: Any, cameras: Any, folder: Path) -> None:
    """The stored bytes of some rows, as files that sort as the rows do."""
    folder.mkdir(parents=True)
    with store.reading() as reading:
        for row, jpeg in zip(rows.tolist(), reading.jpegs(rows.tolist()), strict=True):
            name = f"{row:08d}_{int(labels[row])}_c{int(cameras[row])}.jpg"
            (folder / name).write_bytes(jpeg)


def measured(name: str, job: Job, python: Path, repeats: int) -> dict[str, Any]:
    """All ways of a toolbox, in turns."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}

    def one(way: str) -> float:
        given = dataclasses.replace(job, way=way)
        command = [str(python), "-m", f"benchmarks.toolboxes.{name}", given.told()]
        run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"benchmarks.bridges: {name} {way}: {run.stderr[-2000:]}")
        found[way].append(json.loads(run.stdout.splitlines()[-1]))
        return statistics.median(
            found[way][-1]["crops"] / taken for taken in found[way][-1]["seconds"]
        )

    rates = interleaved({way: functools.partial(one, way) for way in WAYS}, repeats)
    result: dict[str, Any] = {"same_images": same_images(found)}
    print(
        f"{name}: {found['files'][0]['crops']:,} crops an epoch; images of queries are"
        f" {'the same' if result['same_images'] else 'OTHERS'}"
    )
    for way, taken in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(taken, rates["files"], strict=True)]
        goal = f", at least {GOALS[way]}" if way in GOALS else ""
        print(f"  {way:12} {told(taken, 0):28} crops/s, {told(ratios)} of files{goal}")
        result[way] = {"crops_per_s": spread(taken), "of_files": spread(ratios), "rounds": taken}
    return result


def same_images(found: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether the query images of all ways have the same means of each channel."""
    means = [np.array(runs[0]["means"]) for runs in found.values()]
    return all(np.allclose(each, means[0], atol=_SAME) for each in means)


if __name__ == "__main__":
    sys.exit(main())
