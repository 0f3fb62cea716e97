"""`lmdb-reid merge`: several stores as one, without a copy of their pictures."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import UsageError
from lmdb_reid.store import Store, copy_whole, merge


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "stores",
        metavar="STORE",
        nargs="+",
        help="join these stores, two or more, in the order of their rows",
    )
    add("--out", metavar="STORE", required=True, help="write the new store to this directory")
    add(
        "--name",
        metavar="NAME=STORE",
        action="append",
        default=[],
        help="put NAME in front of the ids of STORE (default: the folder's name without suffix)",
    )
    add(
        "--no-names",
        action="store_true",
        help="keep the ids, for shards of one build whose ids ascend from store to store",
    )
    add(
        "--same-identities",
        action="store_true",
        help="treat equal labels as one person (default: keep the stores' labels apart)",
    )
    add("--copy", action="store_true", help="copy the pictures into one file")
    add(
        "--absolute",
        action="store_true",
        help="save absolute paths of the stores (default: relative ones)",
    )
    add("--overwrite", action="store_true", help="replace a store at --out")
    add("--json", action="store_true", help="print the new store as JSON")
    parser.epilog = (
        "example:\n  lmdb-reid merge soccer.lmdb mot17.lmdb --out both.lmdb --name"
        " mot=mot17.lmdb\n\nThe new store reads the pictures of the old ones. Keep"
        " the old stores where they are, or use --copy."
    )


def run(args: argparse.Namespace) -> int:
    """Merge, and print what the new store holds."""
    if args.copy and args.absolute:
        raise UsageError("--copy and --absolute exclude each other: a copy notes no paths")
    began = time.perf_counter()
    path = _write(args, _names(args))
    with Store(path) as store:
        facts = {
            "store": str(path),
            "samples": len(store),
            "seconds": time.perf_counter() - began,
            "identities": store.manifest.identities,
            "digest": store.digest,
            "parts": [
                {"name": part.name, "samples": part.count, "path": part.path}
                for part in store.manifest.parts
            ],
        }
        if args.json:
            print_json(facts)
        else:
            print_lines([repr(store)])
    return 0


def _write(args: argparse.Namespace, names: list[str] | None) -> Path:
    same, overwrite = args.same_identities, args.overwrite
    if args.copy:
        return copy_whole(
            args.stores, args.out, names=names, same_identities=same, overwrite=overwrite
        )
    return merge(
        args.stores,
        args.out,
        names=names,
        same_identities=same,
        absolute=args.absolute,
        overwrite=overwrite,
    )


def _names(args: argparse.Namespace) -> list[str] | None:
    if args.no_names:
        if args.name:
            raise UsageError("--name and --no-names exclude each other")
        return [""] * len(args.stores)
    chosen: dict[str, str] = {}
    for given in args.name:
        name, equals, store = given.partition("=")
        if not equals or store not in args.stores:
            raise UsageError(
                f"--name must be NAME=STORE, with a STORE of the command line, got {given!r}"
            )
        if store in chosen:
            raise UsageError(f"{store} must have one name, got {chosen[store]!r} and {name!r}")
        chosen[store] = name
    if not chosen:
        return None
    return [chosen.get(store) or Path(store).stem for store in args.stores]
