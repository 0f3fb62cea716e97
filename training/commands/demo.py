"""`lmdb-reid demo`: the whole way once, from drawn frames to batches, timed beside other ways."""

from __future__ import annotations

import argparse
import itertools
import shlex
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from builders import AtmaCup, BuildSettings, build
from builders.game import ANGLES, draw_game
from builders.samples import box_samples
from lmdb_reid import _disk
from lmdb_reid.cli import info
from lmdb_reid.dataset import ReIDDataset
from lmdb_reid.errors import StoreExistsError, UsageError, WriteError
from lmdb_reid.loaders import make_loader
from lmdb_reid.machine import available_cores
from lmdb_reid.schema import DEFAULT_SIZE, Kind, Rows
from lmdb_reid.store import Store
from training.guide import PlayerReIDDataset

_MARK = ".made-by-lmdb-reid-demo"  # written first: such a folder may be written into again
_DEFAULT = "lmdb_reid_demo"
_HEIGHT, _WIDTH = DEFAULT_SIZE
_BATCH = 32
_MOST_WORKERS = 4
_SLOW_BATCHES = 3  # for each worker, of the way that decodes a frame for every crop
_EPOCHS = 3
_VIEWS = 4  # of each player on the contact sheet
_INDENT, _COLUMNS = " " * 9, 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--out", metavar="DIR", help=f"a new or empty folder (default: {_DEFAULT}, or _2, ...)")
    add("--overwrite", action="store_true", help="replace what an earlier demo left in --out")
    add("--quarters", type=_count, default=4, metavar="N", help="to draw (default: 4)")
    add("--frames", type=_count, default=12, metavar="N", help="of each (default: 12)")
    parser.epilog = "example:\n  lmdb-reid demo --out demo"


def run(args: argparse.Namespace) -> int:
    """Draw, build, look, read, compare. What it makes stays, to be looked at."""
    folder = _folder(args.out, overwrite=args.overwrite)
    began = time.perf_counter()

    def step(what: str) -> None:
        print(f"{time.perf_counter() - began:5.1f} s  {what}", flush=True)

    step(f"drawing {args.quarters * args.frames * len(ANGLES):,} frames of a game")
    game = draw_game(
        folder / "game", quarters=args.quarters, frames=args.frames, overwrite=args.overwrite
    )
    _tell(f"{len(ANGLES)} cameras, {game.boxes:,} boxes in 1280x720 pixels: {game.train_meta}")
    settings = BuildSettings(size=(_HEIGHT, _WIDTH))
    step("building a store of every box, and of negatives (lmdb-reid build)")
    source = AtmaCup(game.train_meta, game.img_root)
    report = build(source, folder / "demo.lmdb", settings, overwrite=args.overwrite)
    _tell(*report.lines())
    with Store(folder / "demo.lmdb") as store:
        step("looking into it (lmdb-reid info)")
        _tell(*info.lines(info.gather(store)))
        step("reading it, and the same pictures in other ways")
        _compare(store, source, settings.expand)
        step("drawing a contact sheet: a column for each player, then negatives")
        rows, columns = _to_show(store)
        sheet = store.sheet(rows, columns=columns).save(folder / "sheet.jpg")
        commands = _commands(store, folder)
    step("done. Three commands to try next:\n")
    print("\n".join(commands))
    print(f"\nand a picture to look at: {sheet}", flush=True)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: give 1 or more")
    return int(text)


def _folder(out: str | None, *, overwrite: bool) -> Path:
    """The folder to write into, made and marked; nothing in it is removed."""
    if out is None and overwrite:
        raise UsageError("--overwrite needs --out DIR: without it the folder is a new one")
    names = itertools.chain([_DEFAULT], (f"{_DEFAULT}_{n}" for n in itertools.count(2)))
    folder = Path(next(n for n in names if not Path(n).exists()) if out is None else out)
    try:
        _disk.make_folder(folder)
        found = {entry.name for entry in folder.iterdir()}
        if not found or (overwrite and _MARK in found):
            _disk.write(folder / _MARK, b"lmdb-reid demo --overwrite may write here again\n")
            return folder
    except OSError as error:
        raise WriteError(
            f"{error.filename} cannot be written: {error.strerror}", path=folder
        ) from error
    if _MARK in found:
        raise StoreExistsError(
            f"an earlier demo is in {folder}: give --overwrite to replace it, or another --out"
        )
    raise StoreExistsError(f"no demo made what is in {folder}: it stays; give another --out")


def _tell(*lines: str) -> None:
    fill = textwrap.TextWrapper(_COLUMNS, initial_indent=_INDENT, break_long_words=False)
    for line in "\n".join(lines).splitlines():
        # What follows a title of a summary stands below it.
        fill.subsequent_indent = _INDENT + (" " * 14 if line.startswith(" ") else "")
        print(fill.fill(line), flush=True)


def _compare(store: Store, source: AtmaCup, expand: float) -> None:
    """Times an epoch of ours, the same pictures as JPEG files, and some cut out of the frames."""
    num_workers = min(_MOST_WORKERS, available_cores())
    some = _spread(_rows_of(store, Kind.PERSON), _BATCH * _SLOW_BATCHES * num_workers)
    ours = ReIDDataset(store)
    boxes = {box.id: box for box in box_samples(source.read())}
    chosen = [boxes[store.ids[row]] for row in some.tolist()]
    cut = PlayerReIDDataset(chosen, _resized, expand, use_cache=False)
    with (
        tempfile.TemporaryDirectory(prefix="lmdb-reid-demo-") as folder,
        make_loader(ours, _BATCH, num_workers=num_workers) as loader,
    ):
        files = _Files([Path(folder, f"{row:06d}.jpg") for row in range(len(store))], ours.labels)
        for row, path in enumerate(files.paths):
            _disk.write(path, store.at(row).jpeg)
        _tell(
            f"ours: {len(ours):,} crops from the store through make_loader",
            "PIL files: the same, each from a JPEG file of its own, through torch's DataLoader",
            f"run-time cropping: {len(cut):,} of them, each cut by PIL out of its 1280x720 frame",
            f"{num_workers} workers, batches of {_BATCH}. A first epoch starts the workers;"
            f" {_EPOCHS} more are timed, each from asking for its first batch until its last one is"
            " there",
        )
        # Ours last: the others fork, which is better done before it starts threads.
        ways: dict[str, Iterable[Any]] = {
            name: DataLoader(
                others, _BATCH, num_workers=num_workers, persistent_workers=True, prefetch_factor=3
            )
            for name, others in (("run-time cropping", cut), ("PIL files", files))
        }
        speed = _crops_per_second(ways | {"ours": loader})
        pairs = [(ours[row][0].permute(1, 2, 0), cut[at][0]) for at, row in enumerate(some[:99])]
    apart = statistics.fmean((a.float() - b.float()).abs().mean().item() for a, b in pairs)
    _tell(f"on average ours and those cut at run time are {apart:.1f} of 255 levels apart")
    ratios = [
        f"{name} {speed[name]:,.0f} ({speed['ours'] / speed[name]:.1f} times)"
        for name in ("PIL files", "run-time cropping")
    ]
    print(f"\n{_INDENT}ours {speed['ours']:,.0f} crops/s, {', '.join(ratios)}\n", flush=True)


def _crops_per_second(ways: dict[str, Iterable[Any]]) -> dict[str, float]:
    """Each way's speed, its epochs between those of the others: all share a busy moment."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    crops = dict.fromkeys(ways, 0)
    for _ in range(1 + _EPOCHS):
        for name, batches in ways.items():
            began = time.perf_counter()
            crops[name] = sum(len(labels) for _, labels, *_ in batches)
            seconds[name].append(time.perf_counter() - began)
    return {name: crops[name] / statistics.median(seconds[name][1:]) for name in ways}


class _Files(Dataset[tuple[torch.Tensor, int]]):
    """A JPEG file for each crop; images [H, W, 3], since turning them would cost this way more."""

    def __init__(self, paths: Sequence[Path], labels: Rows) -> None:
        self.paths = paths
        self._labels = labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return torch.from_numpy(np.array(image)), int(self._labels[index])


def _resized(crop: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(crop.resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)))


def _to_show(store: Store) -> tuple[list[int], int]:
    """Rows for a contact sheet, and in how many columns: a player in each, then negatives."""
    players, labels = _rows_of(store, Kind.PERSON), store.columns["label"]
    of_each = [players[labels[players] == label] for label in np.unique(labels[players])]
    views = min(_VIEWS, *map(len, of_each))
    grid = np.stack([_spread(rows, views) for rows in of_each], axis=1)
    negatives = [_rows_of(store, kind) for kind in (Kind.PARTIAL, Kind.BACKGROUND)]
    shown = [grid.ravel(), *(_spread(rows, len(of_each)) for rows in negatives)]
    return np.concatenate(shown).tolist(), len(of_each)


def _rows_of(store: Store, kind: Kind) -> Rows:
    return np.flatnonzero(store.columns["kind"] == kind)


def _spread(rows: Rows, count: int) -> Rows:
    """At most `count` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def _commands(store: Store, folder: Path) -> list[str]:
    """Lines that can be pasted into the shell that called this program."""
    some, path = store.at(int(_rows_of(store, Kind.PERSON)[3])), str(folder / "demo.lmdb")
    sheet = str(folder / f"label{some.label}.jpg")
    commands = (
        ["get", path, some.id, "-o", str(folder / "player.jpg")],
        ["sheet", path, "--query", f"label == {some.label}", "-o", sheet],
        ["verify", path, "--deep"],
    )
    return [f"  {_program()} {shlex.join(words)}" for words in commands]


def _program() -> str:
    """How to call this program again, quoted."""
    called = sys.argv[0]
    if Path(called).name != "lmdb-reid":
        return f"{shlex.quote(sys.executable)} -m lmdb_reid.cli"
    return "lmdb-reid" if called == shutil.which("lmdb-reid") else shlex.quote(called)
