"""`lmdb-reid info`: what a store holds."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np

from lmdb_reid.bench import pages
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.store import Store

_SHOWN = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", metavar="STORE", help="the store's directory")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.epilog = "example:\n  lmdb-reid info games.lmdb"


def run(args: argparse.Namespace) -> int:
    """Print it."""
    with Store(args.store) as store:
        if args.json:
            print_json(gather(store))
        else:
            print_lines(lines(store))
    return 0


def gather(store: Store) -> dict[str, Any]:
    """Everything that `info` prints, as JSON values."""
    held = pages.held(store.path)
    return {
        "store": str(store.path),
        "format": ".".join(map(str, store.manifest.version)),
        "samples": len(store),
        "kinds": store.kinds,
        "identities": store.manifest.identities,
        "labels": {str(label): count for label, count in _labels(store)},
        "size": store.size,
        "bytes": held.bytes,
        "page_cache_bytes": held.resident,
        "digest": store.digest,
        "columns": {
            name: {
                "dtype": store.columns[name].dtype.str,
                "categories": _count(store.columns.categories(name)),
            }
            for name in store.columns
        },
        "roles": asdict(store.roles),
        "parts": [
            {"name": part.name, "path": part.path, "samples": part.count}
            for part in store.manifest.parts
        ],
        "build": store.manifest.build,
        "source": store.manifest.source,
    }


def lines(store: Store) -> list[str]:
    """The same for people: what `store.describe()` says, and where it is from."""
    manifest, held, entries = store.manifest, pages.held(store.path), store.describe().lines()
    share = None if held.resident is None else held.resident / max(1, held.bytes)
    in_cache = "unknown" if share is None else f"{share:.0%} in the page cache"
    entries["on disk"] += f", {in_cache}"
    printed = [f"{store.path}  (format {'.'.join(map(str, manifest.version))})"]
    for name, text in entries.items():
        printed.append(f"  {name:<11} {text}")
        if name == "identities":
            printed += _few_identities(store)
    if len(manifest.parts) > 1:
        printed.append("  parts")
        printed += [
            f"    {part.name:<22} {part.count:,} samples in {part.path}" for part in manifest.parts
        ]
    for title, values in (("build", manifest.build), ("source", manifest.source)):
        printed += [f"  {title}"] + [
            f"    {name:<22} {_plain(value)}" for name, value in values.items()
        ]
    return printed


def _few_identities(store: Store) -> list[str]:
    """A line for each identity, if they are few."""
    if store.manifest.identities > _SHOWN:
        return []
    return [f"      label {label:<6} {count:,}" for label, count in _labels(store) if label != -1]


def _labels(store: Store) -> list[tuple[int, int]]:
    """(label, its samples), by label."""
    labels, counts = np.unique(store.columns["label"], return_counts=True)
    return list(zip(labels.tolist(), counts.tolist(), strict=True))


def _count(categories: list[str] | None) -> int | None:
    return None if categories is None else len(categories)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        sides = len(value) == 2 and all(isinstance(inner, int) for inner in value)
        return ("x" if sides else ", ").join(map(str, value))
    return str(value)
