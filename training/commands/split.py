"""`lmdb-reid split`: deal a store's samples out to parts, and look what these share."""

from __future__ import annotations

import argparse
import functools
import time
from typing import Any

from lmdb_reid.cli.output import print_json
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import shown
from lmdb_reid.store import Store
from training.commands._split_report import Report, facts_in_json, lines
from training.splits import (
    LEAK_KINDS,
    Rule,
    Split,
    StoreTable,
    by_group,
    by_identity,
    camera_column,
    candidates_of,
    facts_of,
    find_leaks,
    given,
    load_split,
    make_hashes,
    open_set,
    repair,
    save_split,
    stored_hashes,
    stratified,
    twice_in_a_frame,
    usual_rows,
)

_FOLDS = {"folds": "n_folds", "fold": "fold", "seed": "seed"}
# Of each rule the options that it takes, and what the rule calls them.
_RULES: dict[str, tuple[Any, dict[str, str]]] = {
    "identity": (
        by_identity,
        {"test_ratio": "test_ratio", "queries": "queries", "camera": "camera", "seed": "seed"},
    ),
    "group": (by_group, {"group": "group", **_FOLDS}),
    "stratified": (stratified, {"train_ratio": "train_ratio", "seed": "seed"}),
    "given": (given, {"column": "column", "name": "names"}),
    "open-set": (
        open_set,
        {"unknown_per_fold": "unknown_per_fold", "train_ratio": "train_ratio", **_FOLDS},
    ),
}
_EPILOG = """\
rules:
  identity    train on some identities; the others become query and gallery
  group       folds of whole games, quarters or actions
  stratified  train on a share of each identity's samples, validate on the rest
  given       the parts that the source names
  open-set    some identities stay unknown; a share of the others is held out

examples:
  lmdb-reid split games.lmdb --rule identity -o split.json
  lmdb-reid split games.lmdb --rule group --folds 5 --fold 0 --fix -o split.json
  lmdb-reid split games.lmdb --check split.json --hash

The exit code is 1 if --check finds a leak."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("store", metavar="STORE", help="the store's directory")
    what = parser.add_mutually_exclusive_group(required=True).add_argument
    what("--rule", choices=tuple(_RULES), help="split by this rule; the rules are below")
    what("--check", metavar="FILE", help="check this split for leaks")
    add("-o", "--output", metavar="FILE", help="write the split here, as .json or .csv")
    add("--seed", type=int, metavar="N", help="split with this random seed (default: 42)")
    add(
        "--test-ratio",
        type=float,
        metavar="R",
        help="hold out this share of identities (default: 0.5)",
    )
    add(
        "--queries",
        type=int,
        metavar="N",
        help="choose N queries of each identity and camera (default: 1)",
    )
    add(
        "--camera",
        metavar="COLUMN",
        help="read cameras from this column (default: the column with the role camera)",
    )
    add(
        "--group",
        metavar="COLUMN,...",
        help="read groups from these columns (default: the columns with the role group)",
    )
    add("--folds", type=int, metavar="N", help="split into this many folds (default: 5)")
    add("--fold", type=int, metavar="I", help="hold out this fold, counted from 0 (default: 0)")
    add(
        "--unknown-per-fold",
        type=int,
        metavar="N",
        help="hold out N identities in each fold (default: 2)",
    )
    add(
        "--train-ratio",
        type=float,
        metavar="R",
        help="train on this share of each identity's samples (default: 0.8)",
    )
    add("--column", help="read the parts from this column (default: the one with the role split)")
    add(
        "--name",
        metavar="VALUE=PART",
        action="append",
        help="map a value of that column to a part, such as bounding_box_test=gallery",
    )
    add("--query", metavar="EXPR", help="split the samples that match (default: all except junk)")
    add(
        "--hash",
        action="store_true",
        help=(
            "compute perceptual hashes if the store has no column phash, and keep them in"
            " STORE.phash beside it"
        ),
    )
    add(
        "--fix",
        action="store_true",
        help="move samples that a leak connects to the part that has most of them",
    )
    add(
        "--apart",
        metavar="KIND,...",
        help=f"count only these kinds as leaks (default: {','.join(LEAK_KINDS)})",
    )
    add("--json", action="store_true", help="print the result as JSON")
    parser.epilog = _EPILOG


def run(args: argparse.Namespace) -> int:
    """Split, or read a split, and print what its parts hold and share."""
    began = time.perf_counter()
    apart = _apart(args.apart)
    if args.check and args.output and not args.fix:
        raise UsageError("--output with --check needs --fix. Add --fix, or remove --output")
    with Store(args.store) as store:
        split = _split(store, args)
        hashes = stored_hashes(store)
        if hashes is None and args.hash:
            with shown("hashing", "crops") as show:
                hashes = make_hashes(store, progress=show)
        facts = facts_of(store, hashes)
        leaks = find_leaks(split, facts)
        moved = left_out = None
        if args.fix:
            split, moved, left_out = repair(split, facts, apart=apart)
            leaks = find_leaks(split, facts)
        if args.output:
            save_split(args.output, split, store.ids, store.columns["label"])
        report = Report(
            store=store,
            split=split,
            leaks=leaks,
            apart=apart,
            twice=twice_in_a_frame(store, split.rows(*split.parts)),
            camera=args.camera or camera_column(store.roles, store.columns),
            moved=moved,
            left_out=left_out,
            file=args.output,
        )
        if args.json:
            print_json(facts_in_json(report) | {"seconds": time.perf_counter() - began})
        else:
            print("\n".join(lines(report)))
            if args.rule and not args.output:
                print("nothing was written: -o FILE writes the split")
    return 1 if args.check and leaks.found(apart) else 0


def _split(store: Store, args: argparse.Namespace) -> Split:
    if args.check:
        _refuse(args, [], f"--check {args.check}")
        if args.query:
            raise UsageError("--check reads a split as it is, got --query too: leave that out")
        return load_split(args.check, store.ids)
    rule = _rule(args)
    table = StoreTable(store)
    rows = usual_rows(table) if args.query is None else store.query(args.query)
    split = rule(candidates_of(table, rows, store.roles)).among(rows)
    if args.rule == "identity" and not len(split["query"]):
        raise UsageError(
            "--rule identity found no query: no identity that is held out would keep a sample in"
            " the gallery. Use fewer --queries, or identities with more samples"
        )
    return split


def _rule(args: argparse.Namespace) -> Rule:
    """The rule, with the options that were given."""
    function, takes = _RULES[args.rule]
    _refuse(args, takes, f"--rule {args.rule}")
    given_options = {name: getattr(args, name) for name in takes}
    if args.group is not None:
        given_options["group"] = args.group.split(",")
    if args.name is not None:
        given_options["name"] = _names(args.name)
    return functools.partial(
        function,
        **{takes[name]: value for name, value in given_options.items() if value is not None},
    )


def _refuse(args: argparse.Namespace, takes: Any, what: str) -> None:
    """Refuse options that the rule would not look at."""
    every = {name for _, options in _RULES.values() for name in options}
    for name in sorted(every - set(takes)):
        if getattr(args, name) is not None:
            option, *others = (f"--{each.replace('_', '-')}" for each in (name, *takes))
            raise UsageError(
                f"{what} takes no {option}; it takes {', '.join(others) or 'no such option'}"
            )


def _names(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        value, equals, part = word.partition("=")
        if not (value and equals and part):
            raise UsageError(f"--name must be VALUE=PART, got {word!r}")
        found[value] = part
    return found


def _apart(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return LEAK_KINDS
    for kind in text.split(","):
        if kind not in LEAK_KINDS:
            raise UsageError(f"--apart must be of {', '.join(LEAK_KINDS)}, got {kind!r}")
    return tuple(text.split(","))
