"""`lmdb-reid train`: one fold trained, its threshold tuned, its best weights kept."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmdb_reid import _disk
from lmdb_reid.cli.output import print_json
from lmdb_reid.errors import UsageError

if TYPE_CHECKING:
    from training.runs import Best, BestSearch

_EPILOG = """\
DIR/version_0 has metrics.csv, split.csv (which sample was in which part) and config.yaml (every
setting), DIR/checkpoints has best.ckpt and last.ckpt. Settings of LightningCLI, in the sections
trainer, model and data, follow a bare --. List them with lmdb-reid train -- --help.

examples:
  lmdb-reid train --store games.lmdb --folds 5 --fold 0 --max-epochs 20
  lmdb-reid train --store games.lmdb --split split.json
  lmdb-reid train --store games.lmdb --fold 1 -- --model.margin 0.4 --data.engine dataloader
  lmdb-reid train --resume runs/fold0 --max-epochs 40"""

_AFTER_DASHES = "settings of the model, the trainer and the data follow a bare --, as in"
TIPS = {
    "--lr": f"{_AFTER_DASHES} -- --model.lr 0.002",
    "--learning-rate": f"{_AFTER_DASHES} -- --model.lr 0.002",
    "--weight-decay": f"{_AFTER_DASHES} -- --model.weight_decay 0.05",
    "--margin": f"{_AFTER_DASHES} -- --model.margin 0.3",
    "--engine": f"{_AFTER_DASHES} -- --data.engine threads",
    "--size": f"{_AFTER_DASHES} -- --data.image_size [256,128]",
    "--devices": f"{_AFTER_DASHES} -- --trainer.devices 2",
    "--device": f"{_AFTER_DASHES} -- --trainer.accelerator gpu",
    "--gpus": f"{_AFTER_DASHES} -- --trainer.devices 2",
    "--precision": f"{_AFTER_DASHES} -- --trainer.precision 16-mixed",
    "--config": f"{_AFTER_DASHES} -- --config FILE",
    "--model.": f"{_AFTER_DASHES} -- --model.lr 0.002",
    "--trainer.": f"{_AFTER_DASHES} -- --trainer.max_time 00:01:00:00",
    "--data.": f"{_AFTER_DASHES} -- --data.engine threads",
}

_RUN = "LMDB_REID_RUN"  # the folder, for the processes that Lightning starts
_LAST = Path("checkpoints", "last.ckpt")

# The named options, and what LightningCLI calls them.
_SETTINGS = {
    "store": "data.store",
    "train_meta": "data.train_meta_path",
    "img_root": "data.img_root",
    "folds": "data.n_folds",
    "fold": "data.fold_idx",
    "split": "data.saved_split",
    "batch_size": "data.batch_size",
    "num_workers": "data.num_workers",
    "augment": "data.augment",
    "max_epochs": "trainer.max_epochs",
    "seed": "seed_everything",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--store", metavar="STORE", help="train on this store")
    add(
        "--train-meta",
        metavar="CSV",
        help="train on the boxes of this csv; its store is built on first use",
    )
    add("--img-root", metavar="FRAMES", help="read the frames of that csv from this folder")
    add(
        "--split",
        metavar="FILE",
        help="train on this split of lmdb-reid split, instead of on a fold",
    )
    add("--folds", type=int, metavar="N", help="split into this many folds (default: 5)")
    add("--fold", type=int, metavar="I", help="train this fold, counted from 0 (default: 0)")
    add("--max-epochs", type=int, metavar="N", help="train this many epochs (default: 20)")
    add("--batch-size", type=int, metavar="N", help="train with batches of N samples (default: 64)")
    add(
        "--num-workers",
        type=int,
        metavar="N",
        help="decode with N workers (default: the number of cores, at most 4)",
    )
    add(
        "--augment",
        metavar="RECIPE",
        help="augment training batches: bot, transreid or guide (default: none)",
    )
    add("--seed", type=int, metavar="N", help="random seed for weights and order (default: 0)")
    where = parser.add_mutually_exclusive_group().add_argument
    where(
        "--out",
        metavar="DIR",
        help="write into this new or empty folder (default: runs/fold<I> or"
        " runs/<split>, with _2, _3, ... if that exists)",
    )
    where("--resume", metavar="DIR", help="continue the run of this folder, with its settings")
    add("--json", action="store_true", help="print the result as JSON")
    add("settings", nargs="*", metavar="-- SETTING", help="settings of LightningCLI, as below")
    parser.epilog = _EPILOG


def run(args: argparse.Namespace) -> int:
    """Train, and print what came of it."""
    if args.settings and not args.settings[0].startswith("-"):
        raise UsageError(
            f"unexpected argument {args.settings[0]!r}\ntip: pass a store as --store"
            f" {args.settings[0]}. For all options: lmdb-reid train --help"
        )
    if not (args.store or args.resume or args.settings or (args.train_meta and args.img_root)):
        raise UsageError("--store STORE is required, or --train-meta CSV with --img-root FRAMES")
    if args.split is not None and (args.folds is not None or args.fold is not None):
        raise UsageError("--split and --fold, --folds exclude each other. Use one of them")
    # Here, so that --help need not wait for them, nor wrong use for torch and Lightning.
    from training.commands._train_checks import check_files, check_numbers

    check_numbers(args)
    check_files(args)
    began = time.perf_counter()
    name = f"fold{args.fold or 0}" if args.split is None else Path(args.split).stem
    folder = _resumed(args.resume) if args.resume else _new(args.out, name)
    words = _words(args, folder)
    from training.commands._data import TrainData
    from training.runs import fit_fold

    try:
        best = fit_fold(
            words,
            (folder / _LAST).parent,
            folder / _LAST if args.resume else None,
            data=TrainData,
        )
    except BaseException:
        _give_up(folder, is_named=bool(args.out or args.resume))
        raise
    if best is not None:
        _print(best, args, time.perf_counter() - began)
    return 0


def _words(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command line for LightningCLI; named options go last, so that they win."""
    named = {key: getattr(args, name) for name, key in _SETTINGS.items()}
    named |= {
        "trainer.logger": "lightning.pytorch.loggers.CSVLogger",
        "trainer.logger.save_dir": os.fspath(folder),
        "trainer.logger.name": "",
    }
    before = [f"--config={_config(folder)}"] if args.resume else []
    given = [f"--{key}={value}" for key, value in named.items() if value is not None]
    return [*before, *args.settings, *given]


def _new(out: str | None, name: str) -> Path:
    """The folder of a new run, made now where its name was not given: it is nobody else's then."""
    if os.environ.get("LOCAL_RANK", "0") != "0" and _RUN in os.environ:
        return Path(os.environ[_RUN])  # as the first process of the run chose it
    if out is None:
        folder = _claimed(name)
    else:
        folder = Path(out)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UsageError(f"--out must be a new or empty folder, got {out}. Choose another.")
    os.environ[_RUN] = os.fspath(folder)
    return folder


def _claimed(name: str) -> Path:
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}_{number}")
        try:
            _disk.make_folder(folder, new=True)
            return folder
        except FileExistsError:
            number += 1


def _give_up(folder: Path, *, is_named: bool) -> None:
    """After an error or Ctrl-C: no folder without a file stays, and what stays is named."""
    with contextlib.suppress(OSError):  # it holds something, or does not exist
        if not any(path.is_file() for path in folder.rglob("*")):
            _disk.remove(folder)
        if not is_named:
            _disk.remove_folder(folder.parent)
    if (folder / _LAST).is_file():
        print(f"lmdb-reid train --resume {folder} continues this run", file=sys.stderr)


def _resumed(run: str) -> Path:
    """The folder of a run that can be continued."""
    if not (Path(run) / _LAST).is_file():
        raise UsageError(f"--resume must be the folder of a run, got {run}: it has no {_LAST}")
    return Path(run)


def _config(folder: Path) -> Path:
    """The settings that a run had last."""
    found = sorted(folder.glob("version_*/config.yaml"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise UsageError(
            f"--resume must be the folder of a run, got {folder}: it has no version_0/config.yaml"
        )
    return found[-1]


def _print(best: Best | BestSearch, args: argparse.Namespace, seconds: float) -> None:
    if args.json:
        print_json({"store": args.store, "seconds": seconds} | asdict(best))
        return
    from training.runs import BestSearch

    if isinstance(best, BestSearch):
        cmc = "".join(f", CMC-{k} {share:.4f}" for k, share in best.cmc.items())
        notes = f"{best.queries:,} queries, {best.left_out:,} left out"
        notes += "" if best.same_camera else ", no cameras"
        print(
            f"mAP {best.mAP:.4f}{cmc} ({notes}), epoch {best.epoch} of {best.epochs}:"
            f" {best.checkpoint}"
        )
        return
    print(
        f"macro F1 {best.macro_f1:.4f} at threshold {best.threshold:.4f}, epoch {best.epoch} of"
        f" {best.epochs}: {best.checkpoint}"
    )
