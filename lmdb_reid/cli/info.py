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
    labels, counts = np.unique(store.columns["label"], return_counts=True)
    held = pages.held(store.path)
    return {
        "store": str(store.path),
        "format": ".".join(map(str, store.manifest.version)),
        "samples": len(store),
        "kinds": store.kinds,
        "identities": store.manifest.identities,
        "labels": dict(zip(map(str, labels.tolist()), counts.tolist(), strict=True)),
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
    facts, entries = gather(store), store.describe().lines()
    cached = facts["page_cache_bytes"]
    share = None if cached is None else cached / max(1, facts["bytes"])
    in_cache = "unknown" if share is None else f"{share:.0%} in the page cache"
    entries["on disk"] += f", {in_cache}"
    printed = [f"{facts['store']}  (format {facts['format']})"]
    for name, text in entries.items():
        printed.append(f"  {name:<11} {text}")
        if name == "identities":
            printed += _few_identities(facts["labels"])
    if len(facts["parts"]) > 1:
        printed.append("  parts")
        printed += [
            f"    {part['name']:<22} {part['samples']:,} samples in {part['path']}"
            for part in facts["parts"]
        ]
    for title in ("build", "source"):
        printed += [f"  {title}"] + [
            f"    {name:<22} {_plain(value)}" for name, value in facts[title].items()
        ]
    return printed


def _few_identities(labels: dict[str, int]) -> list[str]:
    """A line for each identity, if they are few."""
    counts = {label: count for label, count in labels.items() if label != "-1"}
    if len(counts) > _SHOWN:
        return []
    return [f"      label {label:<6} {count:,}" for label, count in counts.items()]


def _count(categories: list[str] | None) -> int | None:
    return None if categories is None else len(categories)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        sides = len(value) == 2 and all(isinstance(inner, int) for inner in value)
        return ("x" if sides else ", ").join(map(str, value))
    return str(value)
