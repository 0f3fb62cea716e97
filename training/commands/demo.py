"""`lmdb-reid demo`: the whole way once, from drawn frames to batches, timed beside other ways."""

from __future__ import annotations

import argparse
import itertools
import shlex
import shutil
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lmdb_reid import _disk
from lmdb_reid.cli import info
from lmdb_reid.errors import StoreExistsError, UsageError, WriteError
from lmdb_reid.schema import DEFAULT_SIZE, Kind, Rows
from lmdb_reid.store import Store

_MARK = ".made-by-lmdb-reid-demo"  # written first: such a folder may be written into again
_DEFAULT = "lmdb_reid_demo"
_VIEWS = 4  # of each player on the contact sheet
_INDENT, _COLUMNS = " " * 9, 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--out",
        metavar="DIR",
        help=f"write into a new or empty folder (default: {_DEFAULT}, _2, ...)",
    )
    add("--overwrite", action="store_true", help="replace what an earlier demo left in --out")
    add("--quarters", type=_count, default=4, metavar="N", help="draw N quarters (default: 4)")
    add(
        "--frames",
        type=_count,
        default=12,
        metavar="N",
        help="draw N frames of each quarter (default: 12)",
    )
    parser.epilog = "example:\n  lmdb-reid demo --out demo"


def run(args: argparse.Namespace) -> int:
    """Draw, build, look, read, compare. What it makes stays, to be looked at."""
    # Here, so that --help needs nothing that building takes.
    from builders import AtmaCup, BuildSettings, build
    from builders.game import ANGLES, draw_game

    folder = _folder(args.out, overwrite=args.overwrite)
    began = time.perf_counter()

    def step(what: str) -> None:
        print(f"{time.perf_counter() - began:5.1f} s  {what}", flush=True)

    step(f"drawing {args.quarters * args.frames * len(ANGLES):,} frames of a game")
    game = draw_game(
        folder / "game", quarters=args.quarters, frames=args.frames, overwrite=args.overwrite
    )
    _tell(f"{len(ANGLES)} cameras, {game.boxes:,} boxes in 1280x720 pixels: {game.train_meta}")
    settings = BuildSettings(size=DEFAULT_SIZE)
    step("building a store of every box, and of negatives (lmdb-reid build)")
    source = AtmaCup(game.train_meta, game.img_root)
    report = build(source, folder / "demo.lmdb", settings, overwrite=args.overwrite)
    _tell(*report.lines())
    with Store(folder / "demo.lmdb") as store:
        step("looking into it (lmdb-reid info)")
        _tell(*info.lines(store))
        step("reading it, and the same pictures in other ways")
        if find_spec("torch") is None:
            _tell("left out: torch is not installed, which loaders need (pip install torch)")
        else:
            from training.commands._comparison import compare

            fastest = compare(store, source, settings.expand, tell=_tell)
            print(f"\n{_INDENT}{fastest}\n", flush=True)
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
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text!r}")
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
            f"an earlier demo is in {folder}. Use --overwrite to replace it, or choose another"
            " --out."
        )
    raise StoreExistsError(
        f"lmdb-reid demo did not create what is in {folder}, so it is not overwritten. Choose"
        " another --out."
    )


def _tell(*lines: str) -> None:
    fill = textwrap.TextWrapper(_COLUMNS, initial_indent=_INDENT, break_long_words=False)
    for line in "\n".join(lines).splitlines():
        # What follows a title of a summary stands below it.
        fill.subsequent_indent = _INDENT + (" " * 14 if line.startswith(" ") else "")
        print(fill.fill(line), flush=True)


def _to_show(store: Store) -> tuple[list[int], int]:
    """Rows for a contact sheet, and in how many columns: a player in each, then negatives."""
    players, labels = rows_of(store, Kind.PERSON), store.columns["label"]
    of_each = [players[labels[players] == label] for label in np.unique(labels[players])]
    views = min(_VIEWS, *map(len, of_each))
    grid = np.stack([spread(rows, views) for rows in of_each], axis=1)
    negatives = [rows_of(store, kind) for kind in (Kind.PARTIAL, Kind.BACKGROUND)]
    shown = [grid.ravel(), *(spread(rows, len(of_each)) for rows in negatives)]
    return np.concatenate(shown).tolist(), len(of_each)


def rows_of(store: Store, kind: Kind) -> Rows:
    """The rows of a kind, ascending."""
    return np.flatnonzero(store.columns["kind"] == kind)


def spread(rows: Rows, count: int) -> Rows:
    """At most `count` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def _commands(store: Store, folder: Path) -> list[str]:
    """Lines that can be pasted into the shell that called this program."""
    some, path = store.at(int(rows_of(store, Kind.PERSON)[3])), str(folder / "demo.lmdb")
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
        return f"{shlex.quote(sys.executable)} -m lmdb_reid"
    return "lmdb-reid" if called == shutil.which("lmdb-reid") else shlex.quote(called)
