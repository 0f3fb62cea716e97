"""What `lmdb-reid split` prints of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmdb_reid.schema import NO_LABEL, Rows
from lmdb_reid.store import Store
from training.splits import Leak, Leaks, Split, Twice

_TITLES = {
    "identities": "identities",
    "groups": "groups",
    "tracks": "tracks",
    "copies": "pictures, byte for byte,",
    "near": "groups of near-duplicate crops",
}
_ABSENT = {
    "groups": "groups (no column has that role)",
    "tracks": "tracks (no column has that role)",
    "near": "near-duplicates (no column phash: --hash computes it)",
}
_SHOWN = 3
_HINTS = {
    "groups": " (--rule group keeps them apart)",
    "tracks": " (neighbouring frames look alike: --rule group, or --fix)",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """A split and what was found of it."""

    store: Store
    split: Split
    leaks: Leaks
    apart: Sequence[str]
    """Kinds of leak that count."""
    twice: Twice
    camera: str | None
    """The column that tells cameras apart."""
    moved: int | None
    """Samples that were moved; None: nothing was to be."""
    left_out: int | None
    file: str | None
    """Where the split was written."""


def lines(report: Report) -> list[str]:
    """The report for people."""
    found = [*_table(report), *_queries(report)]
    if report.moved is not None:
        found.append(f"moved {report.moved:,} samples, left out {report.left_out:,}")
    leaks = report.leaks.found(report.apart)
    found += [f"leak: {_in_words(report, leak)}{_HINTS.get(leak.kind, '')}" for leak in leaks]
    others = [leak for leak in report.leaks.shared if leak not in leaks]
    found += [f"shared, no leak: {_counted(each)}" for each in others]
    if not leaks:
        kinds = ", ".join(kind for kind in report.leaks.kinds if kind in report.apart)
        found.append(f"no leak: looked for {kinds}")
    absent = [text for kind, text in _ABSENT.items() if kind not in report.leaks.kinds]
    if absent:
        found.append(f"not looked for: {', '.join(absent)}")
    for title, groups in (
        ("frames show one identity twice", report.twice.people),
        ("boxes occur several times", report.twice.rows),
    ):
        if groups:
            some = [" and ".join(_ids(report, group)) for group in groups[:_SHOWN]]
            more = ", ..." if len(groups) > _SHOWN else ""
            found.append(f"{len(groups):,} {title}: {', '.join(some)}{more}")
    if report.file is not None:
        found.append(f"written to {report.file}")
    return found


def facts_in_json(report: Report) -> dict[str, Any]:
    """The report for scripts."""
    answered = _answered(report)
    counted = report.leaks.found(report.apart)
    return {
        "store": str(report.store.path),
        "output": report.file,
        "samples": sum(len(rows) for rows in report.split.parts.values()),
        "labels": len(report.split.labels),
        "parts": _counts(report),
        "answered_queries": answered,
        "moved": report.moved,
        "left_out": report.left_out,
        "looked_for": list(report.leaks.kinds),
        "leaks": [_plain(report, leak) for leak in counted],
        "shared": [_plain(report, each) for each in report.leaks.shared if each not in counted],
        "people_twice_in_a_frame": [_ids(report, group) for group in report.twice.people],
        "boxes_twice": [_ids(report, group) for group in report.twice.rows],
    }


def _table(report: Report) -> list[str]:
    counts = _counts(report)
    width = max(len("part"), *map(len, counts))
    titles = ("samples", "identities", "cameras")
    head = f"{'part':<{width}}" + "".join(f"{title:>12}" for title in titles)
    return [
        head,
        *(
            f"{name:<{width}}"
            + "".join(f"{'-' if part[t] is None else format(part[t], ','):>12}" for t in titles)
            for name, part in counts.items()
        ),
    ]


def _counts(report: Report) -> dict[str, dict[str, int | None]]:
    labels = report.store.columns["label"]
    cameras = None if report.camera is None else report.store.columns[report.camera]
    return {
        name: {
            "samples": len(rows),
            "identities": len(np.unique(labels[rows][labels[rows] > NO_LABEL])),
            "cameras": None if cameras is None else len(np.unique(cameras[rows])),
        }
        for name, rows in report.split.parts.items()
    }


def _queries(report: Report) -> list[str]:
    answered = _answered(report)
    if answered is None:
        return []
    queries = len(report.split["query"])
    if report.camera is None:
        return [
            f"{answered:,} of {queries:,} queries have an answer in the gallery; no column has the"
            " role camera, so the rule is without cameras"
        ]
    return [f"{answered:,} of {queries:,} queries have an answer of another camera in the gallery"]


def _answered(report: Report) -> int | None:
    """Queries whose identity is in the gallery, seen by another camera where cameras are known."""
    if "query" not in report.split or "gallery" not in report.split:
        return None
    query, gallery = report.split["query"], report.split["gallery"]
    labels = report.store.columns["label"]
    of = _how_many(labels, query, gallery)
    if report.camera is not None:
        _, cameras = np.unique(report.store.columns[report.camera], return_inverse=True)
        both = labels * (cameras.max(initial=0) + 1) + cameras
        of = of - _how_many(both, query, gallery)
    return int((of[labels[query] > NO_LABEL] > 0).sum())


def _how_many(keys: Rows, query: Rows, gallery: Rows) -> Rows:
    """How many of the gallery have the key of each query."""
    ordered = np.sort(keys[gallery])
    found: Rows = np.searchsorted(ordered, keys[query], "right") - np.searchsorted(
        ordered, keys[query], "left"
    )
    return found


def _in_words(report: Report, leak: Leak) -> str:
    pairs = [" and ".join(_ids(report, pair)) for pair in leak.examples[:_SHOWN]]
    return f"{_counted(leak)}, such as {', '.join(pairs)}"


def _counted(leak: Leak) -> str:
    one, other = leak.parts
    return (
        f"{leak.count:,} {_TITLES[leak.kind]} in {one} and {other} ({leak.samples[0]:,} and"
        f" {leak.samples[1]:,} samples)"
    )


def _plain(report: Report, leak: Leak) -> dict[str, Any]:
    return {
        "kind": leak.kind,
        "parts": list(leak.parts),
        "count": leak.count,
        "samples": list(leak.samples),
        "examples": [_ids(report, pair) for pair in leak.examples],
    }


def _ids(report: Report, rows: Sequence[int]) -> list[str]:
    return [report.store.ids[row] for row in rows]
