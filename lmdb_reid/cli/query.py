"""`lmdb-reid query`: which samples match a condition."""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lmdb_reid._visible import visible
from lmdb_reid.cli.output import print_json
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import say
from lmdb_reid.schema import Rows
from lmdb_reid.store import Store, absent_values

_AT_ONCE = 10_000  # rows whose ids are made at once
_SAID = 3  # values that no sample has, which a note names

TIPS = {
    "--query": "the condition follows the store: lmdb-reid query STORE EXPRESSION",
    "--where": "the condition follows the store: lmdb-reid query STORE EXPRESSION",
    "--id": "lmdb-reid get STORE ID shows one sample",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("store", metavar="STORE", help="the store's directory")
    add(
        "expression",
        metavar="EXPRESSION",
        nargs="?",
        help="print the samples that match this condition over the columns, in the language of"
        ' pandas, such as "label == 3 and kind == 0" (default: every sample)',
    )
    add("--rows", action="store_true", help="print row numbers, not ids")
    add(
        "--columns",
        metavar="NAMES",
        help="print these columns too, as csv with a header; names separated by commas",
    )
    add("--limit", type=int, metavar="N", help="print only the first N (default: all)")
    add("--json", action="store_true", help="print the rows, ids and columns as JSON")
    parser.epilog = """examples:
  lmdb-reid query games.lmdb "label == 3 and quarter == 'Q1-000'"
  lmdb-reid query games.lmdb "kind == 0" --columns label,width,height > players.csv
  lmdb-reid query games.lmdb --limit 5

lmdb-reid info games.lmdb lists the columns."""


def run(args: argparse.Namespace) -> int:
    """Print the samples that match, in the order of their rows."""
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {args.limit}")
    if args.expression is not None and not args.expression.strip():
        raise UsageError(
            "EXPRESSION must be a condition such as 'label == 3', got an empty text. Leave it out"
            " to print every sample."
        )
    began = time.perf_counter()
    names = [] if args.columns is None else [name.strip() for name in args.columns.split(",")]
    with Store(args.store) as store:
        columns = {name: _Values(store, name) for name in names}  # names that are wrong come first
        matching = (
            np.arange(len(store)) if args.expression is None else store.query(args.expression)
        )
        rows = matching[: args.limit]
        _note_absent(store, args.expression, is_empty=not len(matching) and not args.json)
        if args.json:
            print_json(
                {
                    "store": str(store.path),
                    "query": args.expression,
                    "samples": len(matching),
                    "seconds": time.perf_counter() - began,
                    "rows": rows,
                    "ids": list(_ids(store, rows)),
                    "columns": {name: values(rows) for name, values in columns.items()},
                }
            )
            return 0
        first = map(str, rows.tolist()) if args.rows else map(visible, _ids(store, rows))
        if columns:
            written = csv.writer(sys.stdout, lineterminator="\n")
            written.writerow(["row" if args.rows else "id", *columns])
            written.writerows(zip(first, *(_texts(v(rows)) for v in columns.values()), strict=True))
        else:
            sys.stdout.writelines(f"{one}\n" for one in first)
    return 0


def _note_absent(store: Store, expression: str | None, *, is_empty: bool) -> None:
    """A line on stderr where nothing matches, or a value is compared with that no sample has."""
    absent = [] if expression is None else absent_values(store.columns, expression)
    said = " ".join(absent[:_SAID]) + (
        f" And {len(absent) - _SAID} more." if absent[_SAID:] else ""
    )
    if is_empty:
        say(f"no sample matches {expression!r}" + (f". {visible(said)}" if said else ""))
    elif said:
        say(visible(said))


def _ids(store: Store, rows: Rows) -> Iterator[str]:
    for first in range(0, len(rows), _AT_ONCE):
        yield from map(store.ids.__getitem__, rows[first : first + _AT_ONCE].tolist())


class _Values:
    """A column as people read it: texts, numbers, None for no value."""

    def __init__(self, store: Store, name: str) -> None:
        self._categories = store.columns.categories(name)
        self._column = store.columns[name]

    def __call__(self, rows: Rows) -> list[Any]:
        values: list[Any] = self._column[rows].tolist()
        if self._categories is None:
            return values
        return [self._categories[code] if code >= 0 else None for code in values]


def _texts(values: Sequence[Any]) -> Iterator[str]:
    """For a csv: nothing where there is no value."""
    for value in values:
        nothing = value is None or (isinstance(value, float) and math.isnan(value))
        yield "" if nothing else visible(str(value))
