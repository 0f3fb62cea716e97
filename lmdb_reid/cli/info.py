"""`lmdb-reid info`: what a store holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lmdb_reid.bench import pages
from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.machine import size_in_words
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
        facts = gather(store)
    if args.json:
        print_json(facts)
    else:
        print_lines(lines(facts))
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


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    size = (
        f"{_plain(facts['size'])} (height x width)"
        if facts["size"]
        else "native: each box has its own"
    )
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts["kinds"].items())
    cached = facts["page_cache_bytes"]
    in_cache = (
        "unknown" if cached is None else f"{cached / max(1, facts['bytes']):.0%} in the page cache"
    )
    lines = [
        f"{facts['store']}  (format {facts['format']})",
        f"  samples     {facts['samples']:,}: {kinds}",
        *f"  identities  {facts['identities']:,}{_per_identity(facts['labels'])}".split("\n"),
        f"  images      {size}",
        f"  on disk     {size_in_words(facts['bytes'])}, {in_cache}",
        f"  digest      {facts['digest']}",
        f"  columns     {', '.join(facts['columns'])}",
    ]
    roles = {name: value for name, value in facts["roles"].items() if value}
    lines.append(f"  roles       {', '.join(f'{n} {_names(v)}' for n, v in roles.items())}")
    if len(facts["parts"]) > 1:
        lines.append("  parts")
        lines += [
            f"    {part['name']:<22} {part['samples']:,} samples in {part['path']}"
            for part in facts["parts"]
        ]
    for title in ("build", "source"):
        lines += [f"  {title}"] + [
            f"    {name:<22} {_plain(value)}" for name, value in facts[title].items()
        ]
    return lines


def _per_identity(labels: dict[str, int]) -> str:
    counts = {label: count for label, count in labels.items() if label != "-1"}
    if not counts:
        return ""
    values = sorted(counts.values())
    spread = f"; images each: {values[0]:,} to {values[-1]:,}, median {values[len(values) // 2]:,}"
    if len(counts) > _SHOWN:
        return spread
    return spread + "".join(
        f"\n      label {label:<6} {count:,}" for label, count in counts.items()
    )


def _names(columns: str | Sequence[str]) -> str:
    return columns if isinstance(columns, str) else " + ".join(columns)


def _count(categories: list[str] | None) -> int | None:
    return None if categories is None else len(categories)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        sides = len(value) == 2 and all(isinstance(inner, int) for inner in value)
        return ("x" if sides else ", ").join(map(str, value))
    return str(value)
